//! Contexts of this shard that are out of service, as a record of theirs is damaged: found by
//! a call, by who reads events or attached blobs, by a delivery, by the collector, or in an earlier
//! life. All that is refused to them; their neighbours go on. What is written down about it is the store's.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use corelet_store::{Change, ContextId, Snapshot, StoreError};

use crate::error::CallError;
use crate::shard::Shard;

/// Those that were found in an earlier life, or when the ledger was opened.
pub(crate) fn known(snapshot: &Snapshot) -> Result<HashMap<ContextId, Arc<str>>, StoreError> {
    let known = snapshot.all_quarantined()?.into_iter();
    Ok(known.map(|one| (one.context, Arc::from(one.why))).collect())
}

impl Shard {
    /// Refuses what is meant for a context that is out of service.
    pub(crate) fn check_service(&self, id: ContextId) -> Result<(), CallError> {
        match self.quarantined.borrow().get(&id) {
            None => Ok(()),
            Some(why) => Err(CallError::OutOfService {
                context: id,
                why: Arc::clone(why),
            }),
        }
    }

    /// Takes a context out of service if what was done with it has met damage.
    pub(crate) fn quarantine_if_damaged<T>(
        self: &Rc<Self>,
        id: ContextId,
        end: &Result<T, CallError>,
    ) {
        if let Err(error) = end
            && let Some(damage) = error.damage()
        {
            self.quarantine(id, &damage);
        }
    }

    /// Takes a context out of service at once, and writes that down.
    pub(crate) fn quarantine(self: &Rc<Self>, id: ContextId, damage: &StoreError) {
        if self.quarantined.borrow().contains_key(&id) {
            return;
        }
        tracing::error!(context = %id, error = %damage, "damage was met; its context is out of service");
        let why = damage.to_string();
        self.put_out_of_service(id, Arc::from(&*why));
        let change = Change::Quarantine {
            context: id,
            why: Some(why),
        };
        let shard = Rc::clone(self);
        crate::rt::spawn(async move {
            if let Err(error) = shard.commit(change).await {
                // Until the next start, which meets the damage again.
                tracing::warn!(context = %id, %error, "that a context is out of service could not be written down");
            }
        });
    }

    /// Takes in that a context is out of service. What of it is in memory goes, with what no
    /// snapshot shows: that is durable, and nobody reads it any more.
    pub(crate) fn put_out_of_service(&self, id: ContextId, why: Arc<str>) {
        self.quarantined.borrow_mut().insert(id, why);
        let live = self.contexts.borrow_mut().remove(&id);
        if let Some(context) = live {
            // What is on its way ends with it: should the context come back, it begins anew.
            context.deleted.set(true);
            self.cancel_asking(&context);
            self.drop_warm(&context);
            self.count_live();
        }
        self.count_quarantined();
    }

    /// Puts a context back into service, if everything that was put aside for it can be
    /// brought in, when the snapshot shows that: who came before would read what is older than
    /// what it was told, and keep that in memory.
    pub(crate) async fn release_here(self: &Rc<Self>, id: ContextId) -> Result<(), CallError> {
        if !self.quarantined.borrow().contains_key(&id) {
            // It need not exist.
            return self.show_here(id).map(drop);
        }
        let change = Change::Quarantine {
            context: id,
            why: None,
        };
        self.commit_shown(change).await?;
        self.forget_quarantine(id);
        self.note_timers_of(id);
        self.note_sends_of(id).await;
        self.note_subscriptions_of(id);
        self.commits.listeners().told(id);
        Ok(())
    }

    /// It is back, or gone for good.
    pub(crate) fn forget_quarantine(&self, id: ContextId) {
        self.quarantined.borrow_mut().remove(&id);
        self.count_quarantined();
    }

    pub(crate) fn count_quarantined(&self) {
        let count = self.quarantined.borrow().len();
        self.stats.quarantined.set(count as u64);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_lite::future::{block_on, poll_once};

    use super::*;
    use crate::fixture::{self, Bench, Disk};
    use crate::message::Call;
    use crate::rt;

    /// The record at the top of its trie is damaged, which nobody reads before its first call:
    /// no scrub comes by, and the start was before. What its guest would read is whole.
    #[test]
    fn a_context_whose_root_is_damaged_is_out_of_service_from_its_first_call_on() {
        const KEYS: [&str; 2] = ["a needle in a haystack", "the key of its neighbour"];
        let scenario = async || {
            let disk = Disk::new();
            let slots = [1, 2].map(|n| disk.create(n));
            for ((n, slot), key) in (1..).zip(slots).zip(KEYS) {
                let call = fixture::call(n, slot, 2, &[(key, "value")]);
                let verdicts = disk.ledger.commit(vec![call]).unwrap();
                assert!(verdicts[0].is_ok());
            }
            // In the record of the entry itself its slot is right before the key.
            let needle = [b"\0", KEYS[0].as_bytes()].concat();
            disk.flip(&needle, 3);
            assert_eq!(disk.get(slots[0], KEYS[0]).as_deref(), Some("value"));
            let bench = Bench::new(disk);
            let call = |n| {
                let call = Call {
                    method: Bytes::from_static(b"keep"),
                    args: Bytes::from_static(b"{}"),
                    caller: Arc::from("caller"),
                    key: None,
                };
                let shard = Rc::clone(&bench.shard);
                Box::pin(async move { shard.call_here(fixture::id(n), call).await })
            };
            // It ends before anything was to be committed, and so before its guest has run.
            let met = poll_once(&mut call(1)).await;
            let damage =
                |end: &Result<_, CallError>| end.as_ref().err().and_then(CallError::damage);
            assert!(met.as_ref().and_then(damage).is_some(), "{met:?}");
            for _ in 0..2 {
                let then = poll_once(&mut call(1)).await;
                assert!(
                    matches!(then, Some(Err(CallError::OutOfService { .. }))),
                    "{then:?}"
                );
                let mut neighbour = call(2);
                assert!(poll_once(&mut neighbour).await.is_none());
                // What is written down about it is on its way too.
                rt::breathe().await;
                bench.commit_shown();
                assert!(neighbour.await.is_ok());
            }
            let snapshot = bench.disk.ledger.snapshot().unwrap();
            let is_out = |slot| snapshot.quarantined(slot).unwrap().is_some();
            assert_eq!(slots.map(is_out), [true, false]);
        };
        rt::run("a test", &rt::ExecutorConfig::default(), scenario).unwrap();
    }

    /// All snapshots may be in use when the batch is durable.
    #[test]
    fn a_released_context_is_served_with_all_that_is_durable_or_not_yet() {
        let disk = Disk::new();
        let slot = disk.create(1);
        let bench = Bench::new(disk);
        let id = fixture::id(1);
        // It was answered, and no snapshot shows it.
        let call = fixture::call(1, slot, 2, &[("key", "answered")]);
        let answered = bench.disk.ledger.writer().commit(vec![call]).unwrap();
        let root = answered.verdicts[0].as_ref().unwrap().standing().root;
        bench.shard.put_out_of_service(id, Arc::from("damage"));
        let mut releasing = Box::pin(bench.shard.release_here(id));
        assert!(block_on(poll_once(&mut releasing)).is_none());
        bench.commit();
        assert!(block_on(poll_once(&mut releasing)).is_none());
        assert!(matches!(
            block_on(bench.shard.revive(id)).map(drop),
            Err(CallError::OutOfService { .. })
        ));
        bench.checkpoint();
        let released = block_on(poll_once(&mut releasing)).expect("it is shown");
        assert!(released.is_ok(), "{released:?}");
        let context = block_on(bench.shard.revive(id)).unwrap();
        assert_eq!(context.standing.get().root, root);
    }
}
