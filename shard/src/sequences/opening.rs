//! Making a sequence of its edits, a slice at a time: a long one must not hold the core.

use std::ops::ControlFlow;

use corelet_store::{Sequence, SequenceKind, StoreError};

use super::source::{Place, Source};
use super::{Edit, Live};

/// Edits, and bytes of edits, that are applied in one step: less than a millisecond.
const STEP_EDITS: usize = 500;
const STEP_BYTES: usize = 128 << 10;

/// A sequence in the making.
pub(crate) struct Opening {
    source: Source,
    live: Live,
    /// The edits that the snapshot has not.
    later: Vec<Edit>,
    /// How many of these are applied; none before the snapshot has been gone through.
    applied: Option<usize>,
    kind: SequenceKind,
    /// Whether to begin with what was saved of it.
    begins_saved: Begins,
}

/// What it goes on from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begins {
    /// It has not been looked whether something was saved.
    Unknown,
    /// What was saved.
    Saved,
    /// Nothing.
    Empty,
}

impl Opening {
    pub(crate) fn begin(
        source: Source,
        kind: SequenceKind,
        losses: u64,
        pending: impl FnOnce() -> Vec<Edit>,
    ) -> Opening {
        let later = source.later(pending);
        let mut live = Live::new(kind, source.author, losses);
        live.made.births = source.made.births.clone();
        let applied = source.snapshot().is_none().then_some(0);
        Opening {
            source,
            live,
            later,
            applied,
            kind,
            begins_saved: Begins::Unknown,
        }
    }

    /// What it takes in memory so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.live.bytes
    }

    /// Does some more of it. Breaks with the sequence when it is whole.
    pub(crate) fn step(mut self) -> Result<ControlFlow<Live, Opening>, StoreError> {
        let Some(applied) = self.applied else {
            self.step_in_snapshot()?;
            return Ok(ControlFlow::Continue(self));
        };
        let mut bytes = 0;
        let rest = &self.later[applied..];
        let some = rest.iter().take(STEP_EDITS).take_while(|edit| {
            bytes += edit.update.len();
            bytes - edit.update.len() <= STEP_BYTES
        });
        let mut count = applied;
        for edit in some {
            self.live.apply_own(self.source.author, edit);
            count += 1;
        }
        if count < self.later.len() {
            self.applied = Some(count);
            return Ok(ControlFlow::Continue(self));
        }
        if self.live.made != self.source.made {
            if self.begins_saved == Begins::Saved {
                // Another's edit has come in before the last one of those saved.
                self.begin_anew();
                return Ok(ControlFlow::Continue(self));
            }
            let Place { key, .. } = &self.source.place;
            return Err(StoreError::Corrupt {
                what: "entry",
                key: String::from_utf8_lossy(key).into_owned(),
                why: "its edits are not as many as it says",
            });
        }
        self.live.measure();
        Ok(ControlFlow::Break(self.live))
    }

    fn begin_anew(&mut self) {
        let births = self.source.made.births.clone();
        self.live = Live::new(self.kind, self.source.author, self.live.losses);
        self.live.made.births = births;
        self.begins_saved = Begins::Empty;
        self.applied = None;
    }

    fn step_in_snapshot(&mut self) -> Result<(), StoreError> {
        let Some(snapshot) = self.source.snapshot() else {
            self.applied = Some(0);
            return Ok(());
        };
        let Place {
            slot,
            space,
            key,
            kind,
        } = &self.source.place;
        if self.begins_saved == Begins::Unknown {
            self.begins_saved = Begins::Empty;
            let saved = snapshot.saved_sequence(*slot, *space, key, *kind)?;
            let author = self.source.author;
            if let Some(saved) = saved
                && let Ok(sequence) = Sequence::open(author, &saved.bytes)
            {
                self.begins_saved = Begins::Saved;
                self.live.sequence = sequence;
                self.live.made.edits = saved.edits;
                self.live.place = saved.place;
                self.live.measure();
                // That alone may have taken a slice.
                return Ok(());
            }
        }
        let live = &mut self.live;
        let (mut edits, mut bytes) = (0, 0);
        let mut is_more = false;
        snapshot.edits_behind(*slot, *space, key, *kind, live.place, &mut |edit| {
            if edits == STEP_EDITS || bytes > STEP_BYTES {
                is_more = true;
                return ControlFlow::Break(());
            }
            edits += 1;
            bytes += edit.update.len();
            live.apply(&edit);
            ControlFlow::Continue(())
        })?;
        if !is_more {
            self.applied = Some(0);
        }
        Ok(())
    }
}
