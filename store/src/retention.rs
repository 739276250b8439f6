//! What is kept of what has happened: bounds on events and on the deltas in the log,
//! and what a step of the collector did about them. How it is done is in
//! `apply/collect.rs`, how much one step may do, in `step.rs`; on what a delta that others need depends, in `members.rs`.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::apply::{Reading, Walk};
use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::ids::{ContextId, ContextSlot, NodeId};
use crate::packs::PACK_EDITS_MAX;

/// How much of one kind is kept of each context. Whatever is over any of the bounds goes,
/// the oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// How many.
    pub count_max: u64,
    /// How many bytes: of kinds and payloads, or of deltas.
    pub bytes_max: u64,
    /// How old, by their stamps.
    pub age_max: Duration,
}

/// What is kept of each context, and for how long its members are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Events. A reader that is further behind is told of the gap.
    pub events: Keep,
    /// Deltas: the history that can be read, and what members can be sent. They go in
    /// spans of up to 64, and the newest stays.
    pub history: Keep,
    /// A member that has acknowledged nothing for so long holds nothing up any more.
    pub away_max: Duration,
    /// Nor does one for which so many bytes of deltas, and of what they have replaced, would have
    /// to be kept.
    pub away_bytes_max: u64,
    /// Which edits of lists and texts are put together.
    pub packs: Packs,
}

/// How edits of a list or text are packed, which changes only what they take of the disk. None is
/// packed before there are so many of both that are by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packs {
    /// How many of the newest stay by themselves.
    pub alone: usize,
    /// How many become one record, at most 128.
    pub together: usize,
}

impl Packs {
    /// What a server has.
    pub const DEFAULT: Packs = Packs {
        alone: PACK_EDITS_MAX,
        together: PACK_EDITS_MAX / 2,
    };
}

impl Default for Retention {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(86_400);
        let keep = Keep {
            count_max: 10_000,
            bytes_max: 16 << 20,
            age_max: 7 * DAY,
        };
        Retention {
            events: keep,
            history: keep,
            away_max: 7 * DAY,
            away_bytes_max: 64 << 20,
            packs: Packs::DEFAULT,
        }
    }
}

/// Whom a step of the collector looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Contexts of which log or events have grown since they were looked at, and lists and texts.
    Grown,
    /// All, in turn; every second step begins with those that have grown.
    All,
}

/// What a step of the collector did.
#[derive(Debug, Default)]
pub struct Collected {
    /// Records read, written or dropped.
    pub rows: u64,
    /// Bytes of the records that were looked into.
    pub bytes: u64,
    /// Events dropped.
    pub events: u64,
    /// Deltas dropped from the log.
    pub deltas: u64,
    /// Edits of lists and texts put into packs.
    pub edits_packed: u64,
    /// Contexts whose deltas stay although there are too many, as a member may need them.
    pub held_up: u64,
    /// Members that hold nothing up any more: each has to take a snapshot.
    pub away: Vec<(ContextId, NodeId)>,
    /// Contexts of which a record is damaged.
    pub damaged: Vec<(ContextSlot, StoreError)>,
    /// Whether every context has been looked at since the round began. The next step
    /// begins another.
    pub is_round_over: bool,
    /// Whether it ended as it had done as much as one may, and not as there was nothing left.
    pub is_full: bool,
    /// Whether a checkpoint is to be made before the next step, which no step makes itself: what
    /// was done since the last one is as much as one may bring in, or has no more room.
    pub is_checkpoint_due: bool,
}

/// Where the collector is. Not on disk: after a restart it begins anew.
#[derive(Default)]
pub(crate) struct Round {
    /// The context that was looked at last.
    pub(crate) after: Option<ContextSlot>,
    /// How many steps in a row of the round have ended at the context behind that one.
    pub(crate) steps_there: u32,
    /// The context that was looked at last because it had grown. The next step goes on behind
    /// it, so that one that always grows does not keep others waiting.
    pub(crate) grown_after: Option<ContextSlot>,
    /// Contexts that have grown and were not yet looked at, between two transactions.
    pub(crate) grown: BTreeSet<ContextSlot>,
    /// Whether the last step began with contexts that have grown.
    pub(crate) is_for_grown: bool,
    /// Where it looks at all lists and texts for edits to pack, behind all contexts.
    pub(crate) walk: Walk,
    /// Lists and texts that have grown and were not yet looked at, by the prefix of their edits' keys.
    pub(crate) packable: VecDeque<Vec<u8>>,
    /// Whether the last step that looked at what has grown began with those.
    pub(crate) is_for_packs: bool,
    /// What was read for spans that were not found when a step ended.
    pub(crate) reading: Reading,
}

impl Round {
    /// Forgets what was read: the log is another.
    pub(crate) fn forget_read(&mut self) {
        self.reading = Reading::default();
    }
}

/// The stamp before which something is too old.
pub(crate) fn cutoff(now: Hlc, age_max: Duration) -> Hlc {
    let micros = u64::try_from(age_max.as_micros()).unwrap_or(u64::MAX);
    Hlc::from_micros(now.micros().saturating_sub(micros))
}
