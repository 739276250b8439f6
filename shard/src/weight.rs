//! How large a context's share of its shard is beside others: its weight, which an operator sets
//! and the context's agenda keeps on this node. What follows from it is in `fair.rs`.

use std::rc::Rc;

use bytes::Bytes;
use corelet_store::{
    Change, ContextId, ContextSlot, EntryValue, Note, Snapshot, Space, StoreError,
};

use crate::error::CallError;
use crate::message::ContextInfo;
use crate::notes;
use crate::shard::Shard;

/// The form of its value, which is the first byte; the weight follows (2, little-endian).
const FORM: u8 = 1;

/// A context's weight. Of contexts that want more than there is, each gets fuel in proportion to
/// its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight(u16);

impl Weight {
    /// The least.
    pub const MIN: u16 = 1;
    /// The most.
    pub const MAX: u16 = 1_000;
    /// What a context has that was given none.
    pub const DEFAULT: Weight = Weight(100);

    /// A weight, if it is within the bounds.
    pub fn new(weight: u64) -> Option<Weight> {
        let weight = u16::try_from(weight).ok()?;
        let is_within = (Weight::MIN..=Weight::MAX).contains(&weight);
        is_within.then_some(Weight(weight))
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }

    fn write(self) -> Vec<u8> {
        let [low, high] = self.0.to_le_bytes();
        vec![FORM, low, high]
    }

    fn read(value: &[u8]) -> Option<Weight> {
        match *value {
            [FORM, low, high] => Weight::new(u16::from_le_bytes([low, high]).into()),
            _ => None,
        }
    }
}

impl Default for Weight {
    fn default() -> Weight {
        Weight::DEFAULT
    }
}

/// The weight that is kept of a context. One of a form that is unknown here, as a later program
/// may have written it, is the default.
pub(crate) fn kept(snapshot: &Snapshot, slot: ContextSlot) -> Result<Weight, StoreError> {
    let found = snapshot.get(slot, Space::Agenda, notes::WEIGHT)?;
    Ok(match found {
        Some(EntryValue::Register(value)) => Weight::read(value).unwrap_or_default(),
        Some(_) | None => Weight::DEFAULT,
    })
}

impl Shard {
    /// Gives a context another weight, durably.
    pub(crate) async fn set_weight_here(
        self: &Rc<Self>,
        id: ContextId,
        weight: Weight,
    ) -> Result<ContextInfo, CallError> {
        self.check_service(id)?;
        let end = self.write_weight(id, weight).await;
        self.quarantine_if_damaged(id, &end);
        end?;
        self.show_here(id)
    }

    async fn write_weight(&self, id: ContextId, weight: Weight) -> Result<(), CallError> {
        let is_default = weight == Weight::DEFAULT;
        let note = Note {
            context: id,
            author: self.author,
            hlc: self.clock.tick(),
            key: Bytes::from_static(notes::WEIGHT),
            value: (!is_default).then(|| Bytes::from(weight.write())),
            is_awaited: true,
        };
        self.commit_shown(Change::PutNote(note)).await?;
        let live = self.contexts.borrow().peek(&id).map(Rc::clone);
        if let Some(context) = live {
            // Of two that come at the same time the one that was written last counts.
            let kept = kept(&self.snapshots.latest(), context.slot)?;
            self.schedule.set_weight(&context, kept);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};

    use super::*;
    use crate::fixture::{self, Bench, Disk};

    #[test]
    fn a_weight_reads_back_and_its_form_is_kept() {
        let weight = Weight::new(300).unwrap();
        assert_eq!(weight.write(), [1, 44, 1]);
        assert_eq!(Weight::read(&weight.write()), Some(weight));
        for bad in [
            &[][..],
            &[1],
            &[1, 0, 0],
            &[1, 233, 3],
            &[2, 44, 1],
            &[1, 44, 1, 0],
        ] {
            assert_eq!(Weight::read(bad), None, "{bad:?}");
        }
        assert_eq!([0, 1_001, 65_636].map(Weight::new), [None; 3]);
    }

    #[test]
    fn a_weight_counts_when_it_is_durable_and_outlives_memory() {
        let disk = Disk::new();
        let slot = disk.create(1);
        let bench = Bench::new(disk);
        let shard = &bench.shard;
        let id = fixture::id(1);
        let of_live = || {
            let context = block_on(shard.reach(id)).unwrap();
            context.share.weight.get().get()
        };
        assert_eq!(of_live(), 100);
        let before = shard.show_here(id).unwrap();
        let set = |weight| Box::pin(shard.set_weight_here(id, Weight::new(weight).unwrap()));
        let mut setting = set(300);
        assert!(block_on(poll_once(&mut setting)).is_none());
        assert_eq!(of_live(), 100, "it may still be refused");
        bench.commit();
        bench.checkpoint();
        let info = block_on(poll_once(&mut setting)).unwrap().unwrap();
        assert_eq!((info.weight.get(), of_live()), (300, 300));
        // It is no change of the state.
        assert_eq!((info.version, info.root), (before.version, before.root));

        assert!(shard.forget_one());
        assert_eq!(shard.show_here(id).unwrap().weight.get(), 300);
        assert_eq!(of_live(), 300);
        let mut setting = set(100);
        assert!(block_on(poll_once(&mut setting)).is_none());
        bench.commit();
        bench.checkpoint();
        let info = block_on(poll_once(&mut setting)).unwrap().unwrap();
        assert_eq!((info.weight.get(), of_live()), (100, 100));
        let kept = bench.disk.ledger.snapshot().unwrap();
        let kept = kept.get(slot, Space::Agenda, notes::WEIGHT).unwrap();
        assert_eq!(kept, None, "the default takes no room");

        let nobody = fixture::id(9);
        let mut setting = Box::pin(shard.set_weight_here(nobody, Weight::DEFAULT));
        assert!(block_on(poll_once(&mut setting)).is_none());
        bench.commit();
        let refused = block_on(poll_once(&mut setting)).unwrap();
        assert!(matches!(refused, Err(CallError::ContextNotFound { .. })));
    }
}
