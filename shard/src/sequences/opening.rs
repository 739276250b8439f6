//! Making a sequence of its edits, a slice at a time: a long one must not hold the core.

use std::ops::ControlFlow;

use corelet_store::{SequenceKind, StoreError};

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
            live.apply(edit.author, edit.hlc, edit.update);
            live.place = edit.place;
            ControlFlow::Continue(())
        })?;
        if !is_more {
            self.applied = Some(0);
        }
        Ok(())
    }
}
