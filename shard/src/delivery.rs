//! Deltas of other nodes, on their way into a context of this shard.
//!
//! What a delta comes to is only known to the commit thread, which merges it, so the
//! shard cannot show it before a snapshot does. Until then the context is held: its updates
//! wait, as the state that they would see is about to change, and queries go on with
//! the state before. Many deltas are handed over at once, and the commit thread makes a
//! checkpoint for them soon, so that holding a context is short. Its guest never runs for a
//! delta. Why so: `shard/decisions/0006-deltas-of-other-nodes.md`. Start at [`Shard::deliver_here`].

use std::rc::Rc;
use std::sync::Arc;

use corelet_store::{
    Change, ContextId, ContextSlot, DELTA_BYTES_MAX, FromTheFuture, NodeId, Refused, RemoteDelta,
    Standing, VouchedDelta,
};
use futures_lite::future::yield_now;

use crate::answer::{Answer, Promise, promise};
use crate::commit_stage::Receipt;
use crate::context::{Context, InUse};
use crate::error::CallError;
use crate::shard::Shard;

/// Deltas that may be delivered at once, and their bytes.
pub const DELIVERY_DELTAS_MAX: usize = 10_000;
/// See [`DELIVERY_DELTAS_MAX`].
pub const DELIVERY_BYTES_MAX: u64 = DELTA_BYTES_MAX;

/// Deltas that are on their way to the disk at once, and their bytes: so few that they leave
/// room for the calls of other contexts, and are handed over in a tenth of a millisecond.
const ROUND_DELTAS: usize = 256;
const ROUND_BYTES: u64 = 1 << 20;

/// What became of a delta of another node.
#[derive(Clone, Debug)]
pub enum Delivered {
    /// It is applied and durable, and whoever reads from now on sees it.
    Applied,
    /// It was not taken, or not again. What it is says whether another try can help:
    /// [`Refused::ParentsMissing`] once those are here, [`Refused::BatchFull`] at once.
    Refused(Arc<Refused>),
    /// Its stamp is not believed yet. It may be delivered again later.
    FromTheFuture(FromTheFuture),
}

/// What is known of a delivery to a context.
#[derive(Default)]
pub(crate) struct Delivery {
    /// Who wants to bring the context into memory.
    waiting: Vec<Promise<()>>,
    /// The last delta that was applied, if no others are on their way: it only waits for a checkpoint, which may be far off if the disk is full.
    unshown: Option<Applied>,
    /// The context, if somebody has brought it into memory during such a wait.
    revived: Option<InUse>,
}

/// A context that deltas are delivered to. Whoever brings it into memory waits until none are on
/// their way to the disk.
struct Delivering<'a> {
    shard: &'a Shard,
    id: ContextId,
}

impl<'a> Delivering<'a> {
    fn begin(shard: &'a Shard, id: ContextId) -> Result<Delivering<'a>, CallError> {
        let mut delivering = shard.delivering.borrow_mut();
        if delivering.contains_key(&id) {
            return Err(CallError::Busy {
                limit: "deliveries of one context",
                used: 1,
                max: 1,
            });
        }
        delivering.insert(id, Delivery::default());
        Ok(Delivering { shard, id })
    }
}

impl Drop for Delivering<'_> {
    fn drop(&mut self) {
        let ended = self.shard.delivering.borrow_mut().remove(&self.id);
        let Delivery {
            waiting, revived, ..
        } = ended.unwrap_or_default();
        if let Some(context) = revived {
            self.shard.schedule.update_ended(&context);
        }
        for promise in waiting {
            promise.keep(());
        }
    }
}

/// A live context whose state nobody else changes.
pub(crate) struct Hold<'a> {
    shard: &'a Shard,
    pub(crate) context: InUse,
}

impl<'a> Hold<'a> {
    pub(crate) async fn of(shard: &'a Shard, context: InUse) -> Result<Hold<'a>, CallError> {
        let held = shard.schedule.hold(&context);
        held.await
            .ok_or_else(|| CallError::bug("whoever waits for a context was forgotten"))?;
        Ok(Hold { shard, context })
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.shard.schedule.update_ended(&self.context);
    }
}

/// The last delta that was applied.
#[derive(Clone, Copy)]
struct Applied {
    /// Its change's number.
    number: u64,
    /// What its context amounts to with it.
    standing: Standing,
}

/// A delta that is on its way to the disk.
struct Sent {
    /// Its place among those that are delivered.
    at: usize,
    /// Its change's.
    number: u64,
    receipt: Answer<Receipt>,
}

impl Shard {
    pub(crate) async fn set_members_here(
        self: &Rc<Self>,
        context: ContextId,
        members: Vec<NodeId>,
    ) -> Result<(), CallError> {
        let change = Change::SetMembers {
            context,
            members,
            now: self.clock.tick(),
        };
        self.commit(change).await.map(drop)
    }

    /// Applies deltas of other nodes to a context, in their order. What became of each; or why
    /// it is not known: some of them may be applied then, and it does no harm to deliver all of
    /// them again.
    ///
    /// There is one delivery to a context at a time, as there is one that knows what of it
    /// waits ([`corelet_store::PendingDeltas`]).
    pub(crate) async fn deliver_here(
        self: &Rc<Self>,
        id: ContextId,
        deltas: Vec<VouchedDelta>,
    ) -> Result<Vec<Delivered>, CallError> {
        self.check_service(id)?;
        check_size(&deltas)?;
        let _delivering = Delivering::begin(self, id)?;
        let mut hold = None;
        let mut known = vec![None; deltas.len()];
        let mut last = None;
        let end = self.deliver_rounds(id, &deltas, &mut hold, &mut known, &mut last);
        let end = end.await;
        // However it has ended: whoever comes now has to see what was applied.
        let shown = self.shown(id, last).await;
        if last.is_some() {
            // It may have brought events.
            self.commits.listeners().told(id);
        }
        for outcome in known.iter().flatten() {
            match outcome {
                Delivered::Applied => self.stats.deltas_applied.one(),
                _ => self.stats.deltas_refused.one(),
            }
            if let Delivered::Refused(refused) = outcome
                && matches!(**refused, Refused::TooManyAuthors { .. })
            {
                self.stats.authors_refused.one();
            }
        }
        end.and(shown)?;
        Ok(known.into_iter().flatten().collect())
    }

    /// Hands over all deltas, and notes what became of each, as far as it is known, and the
    /// last that was applied: without one there may be no checkpoint to wait for.
    async fn deliver_rounds<'a>(
        self: &'a Rc<Self>,
        id: ContextId,
        deltas: &[VouchedDelta],
        hold: &mut Option<Hold<'a>>,
        known: &mut [Option<Delivered>],
        last: &mut Option<Applied>,
    ) -> Result<(), CallError> {
        // The changes before them have left no room: a checkpoint makes some.
        let mut is_shown = false;
        while let Some(first) = known.iter().position(Option::is_none) {
            // When the round before has waited for a checkpoint, somebody may have brought it in.
            if hold.is_none() {
                *hold = self.hold_live(id).await?;
            }
            let live = hold.as_ref().map(|hold| &*hold.context);
            let round = self.choose_round(deltas, first, known);
            if round.is_empty() {
                // All that it has looked at are from the future.
                yield_now().await;
                continue;
            }
            let chosen = round.iter().map(|at| &deltas[*at]);
            let holds = self.hold_attached(chosen).await;
            let round = self.send_round(deltas, &round, live)?;
            self.commits.hold(holds);
            let is_vain = self.take_round(id, round, known, last).await?;
            // What it has met, or somebody else.
            self.check_service(id)?;
            if is_vain && is_shown {
                let refused = Delivered::Refused(Arc::new(Refused::BatchFull));
                let left = known.iter_mut().filter(|outcome| outcome.is_none());
                left.for_each(|outcome| *outcome = Some(refused.clone()));
            }
            if is_vain {
                self.shown(id, *last).await?;
            }
            is_shown = is_vain;
        }
        Ok(())
    }

    /// Waits until no deltas are on their way into a context, so that what the snapshot shows
    /// of it is all there is, but for what [`hold_revived`](Self::hold_revived) knows of.
    pub(crate) async fn delivered(&self, id: ContextId) {
        loop {
            let (promise, answer): (Promise<()>, _) = promise();
            match self.delivering.borrow_mut().get_mut(&id) {
                Some(delivery) if delivery.unshown.is_none() => delivery.waiting.push(promise),
                _ => return,
            }
            answer.await;
        }
    }

    /// Holds a context that was brought into memory while deltas wait to be shown in it, as if
    /// it had been there before.
    pub(crate) fn hold_revived(&self, context: &Rc<Context>) {
        let mut delivering = self.delivering.borrow_mut();
        let Some(delivery) = delivering.get_mut(&context.id) else {
            return;
        };
        let Some(last) = delivery.unshown else {
            return;
        };
        if self.commits.is_shown(last.number) {
            return;
        }
        // It has had no other turn, so it is held at once.
        drop(self.schedule.hold(context));
        self.commits.show_later(context, last.standing);
        delivery.revived = Some(InUse::new(Rc::clone(context)));
    }

    /// Holds the context if it is in memory. If it is not, nobody brings it in before the delivery
    /// waits for a checkpoint: see [`delivered`](Self::delivered).
    async fn hold_live(&self, id: ContextId) -> Result<Option<Hold<'_>>, CallError> {
        let revived = match self.delivering.borrow_mut().get_mut(&id) {
            Some(delivery) => delivery.revived.take(),
            None => None,
        };
        match (revived, self.live(id)) {
            (Some(context), _) => Ok(Some(Hold {
                shard: self,
                context,
            })),
            (None, Some(context)) => Ok(Some(Hold::of(self, context).await?)),
            (None, None) => Ok(None),
        }
    }

    /// Takes note of a delta's stamp, so that those of calls are greater.
    fn believe(&self, delta: &VouchedDelta) -> Result<(), FromTheFuture> {
        let ahead_micros_max = self.bounds.pending.ahead_micros_max;
        self.clock.observe(delta.hlc(), ahead_micros_max)
    }

    /// The places of as many as may be on their way at once, of those from `first` on of which
    /// nothing is known. Those from the future are known then.
    fn choose_round(
        &self,
        deltas: &[VouchedDelta],
        first: usize,
        known: &mut [Option<Delivered>],
    ) -> Vec<usize> {
        let mut round = Vec::new();
        let mut bytes = 0;
        let unknown = (first..deltas.len()).filter(|at| known[*at].is_none());
        let unknown: Vec<usize> = unknown.take(ROUND_DELTAS).collect();
        for at in unknown {
            if let Err(early) = self.believe(&deltas[at]) {
                known[at] = Some(Delivered::FromTheFuture(early));
                continue;
            }
            bytes += deltas[at].canonical().len() as u64;
            if !round.is_empty() && bytes > ROUND_BYTES {
                break;
            }
            round.push(at);
        }
        round
    }

    /// Hands over as many of a round as there is room for, each with its author's seal behind
    /// it if that has come.
    fn send_round(
        &self,
        deltas: &[VouchedDelta],
        round: &[usize],
        live: Option<&Rc<Context>>,
    ) -> Result<Vec<Sent>, CallError> {
        let mut sent = Vec::new();
        for &at in round {
            let delta = &deltas[at];
            let change = Change::Delta(RemoteDelta {
                slot: ContextSlot::UNASSIGNED,
                delta: delta.clone(),
            });
            let (receipt, number) = match self.commits.submit_delta(change, live) {
                // The next round meets it again, when this one has been taken.
                Err(_) if !sent.is_empty() => break,
                submitted => submitted?,
            };
            sent.push(Sent {
                at,
                number,
                receipt,
            });
            if let Some(sealed) = delta.sealed() {
                // Without it, others ask somebody else for the delta.
                let keep = Change::KeepSeal(sealed.clone());
                drop(self.commits.submit_delta(keep, live));
            }
        }
        Ok(sent)
    }

    /// Waits for what became of all deltas of a round, and notes the last that was
    /// applied. True if there was no room for any of them. What is refused behind one that had
    /// no room may be so for want of that, so it comes again with it. One that meets damage
    /// takes the context out of service.
    async fn take_round(
        self: &Rc<Self>,
        id: ContextId,
        round: Vec<Sent>,
        known: &mut [Option<Delivered>],
        last: &mut Option<Applied>,
    ) -> Result<bool, CallError> {
        let (mut is_full, mut is_vain) = (false, true);
        let mut failed = None;
        for sent in round {
            let receipt = sent.receipt.await;
            let receipt = receipt.unwrap_or_else(|| Err(CallError::bug("a delta was forgotten")));
            if let Some(damage) = receipt.as_ref().err().and_then(CallError::damage) {
                self.quarantine(id, &damage);
            }
            let outcome = match receipt {
                Ok(committed) => {
                    *last = Some(Applied {
                        number: sent.number,
                        standing: committed.standing(),
                    });
                    Delivered::Applied
                }
                Err(error) if is_disk_full(&error) => {
                    failed.get_or_insert(error);
                    continue;
                }
                Err(CallError::Uncommitted(refused)) => {
                    is_full |= matches!(*refused, Refused::BatchFull);
                    if is_full {
                        continue;
                    }
                    Delivered::Refused(refused)
                }
                Err(error) => {
                    failed.get_or_insert(error);
                    continue;
                }
            };
            is_vain = false;
            known[sent.at] = Some(outcome);
        }
        failed.map_or(Ok(is_full && is_vain), Err)
    }

    /// Waits until what was applied last to a context is shown. Meanwhile nothing is on its way,
    /// and the context can be brought into memory.
    async fn shown(&self, id: ContextId, last: Option<Applied>) -> Result<(), CallError> {
        let Some(last) = last else {
            return Ok(());
        };
        let shown = self.commits.until_shown(last.number);
        for promise in self.note_unshown(id, Some(last)) {
            promise.keep(());
        }
        let shown = shown.await;
        self.note_unshown(id, None);
        shown.ok_or_else(|| CallError::bug("a delivery was forgotten"))
    }

    /// Notes what is not shown, and gives who waits for a context.
    fn note_unshown(&self, id: ContextId, unshown: Option<Applied>) -> Vec<Promise<()>> {
        let mut delivering = self.delivering.borrow_mut();
        let Some(delivery) = delivering.get_mut(&id) else {
            return Vec::new();
        };
        delivery.unshown = unshown;
        match unshown {
            Some(_) => std::mem::take(&mut delivery.waiting),
            None => Vec::new(),
        }
    }
}

fn is_disk_full(error: &CallError) -> bool {
    matches!(error, CallError::Uncommitted(refused) if matches!(**refused, Refused::DiskFull))
}

fn check_size(deltas: &[VouchedDelta]) -> Result<(), CallError> {
    let bytes = deltas.iter().map(|delta| delta.canonical().len() as u64);
    let check = |limit, used, max| match used <= max {
        true => Ok(()),
        false => Err(CallError::TooMuch { limit, used, max }),
    };
    check(
        "deltas in one delivery",
        deltas.len() as u64,
        DELIVERY_DELTAS_MAX as u64,
    )?;
    check("bytes in one delivery", bytes.sum(), DELIVERY_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    mod failing;
    mod refusing;

    use std::ops::ControlFlow;
    use std::pin::Pin;

    use bytes::Bytes;
    use futures_lite::future::{block_on, poll_once};

    use super::*;
    use crate::fixture::{self, Bench, Disk, Peer};
    use crate::message::{Call, Reply};

    type Delivery<'a> = Pin<Box<dyn Future<Output = Result<Vec<Delivered>, CallError>> + 'a>>;
    type Calling<'a> = Pin<Box<dyn Future<Output = Result<Reply, CallError>> + 'a>>;

    fn deliver(bench: &Bench, deltas: Vec<VouchedDelta>) -> Delivery<'_> {
        Box::pin(bench.shard.deliver_here(fixture::id(1), deltas))
    }

    fn call<'a>(bench: &'a Bench, method: &'static str) -> Calling<'a> {
        let call = Call {
            method: Bytes::from_static(method.as_bytes()),
            args: Bytes::from_static(b"{}"),
            caller: Arc::from("caller"),
            key: None,
        };
        Box::pin(bench.shard.call_here(fixture::id(1), call))
    }

    fn now<T>(task: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
        block_on(poll_once(task))
    }

    fn applied(delivered: Option<Result<Vec<Delivered>, CallError>>) -> Vec<bool> {
        let delivered = delivered.expect("it has ended").unwrap();
        let applied = delivered.iter().map(|it| matches!(it, Delivered::Applied));
        applied.collect()
    }

    /// The disk may have become full just then.
    #[test]
    fn a_context_that_waits_for_a_checkpoint_can_be_brought_into_memory() {
        let disk = Disk::new();
        let slot = disk.create(1);
        let bench = Bench::new(disk);
        let mut delivery = deliver(&bench, vec![Peer::new().write(9, "a", "theirs")]);
        assert!(now(&mut delivery).is_none());
        let mut query = call(&bench, "peek");
        assert!(now(&mut query).is_none(), "nobody knows what it comes to");
        bench.commit();
        assert!(now(&mut delivery).is_none(), "no snapshot shows it");
        assert!(now(&mut query).is_some_and(|end| end.is_ok()));
        let context = block_on(bench.shard.revive(fixture::id(1))).unwrap();
        let before = context.standing.get();
        let mut update = call(&bench, "keep");
        assert!(now(&mut update).is_none());
        bench.shard.run_stretch();
        assert!(bench.queue.is_empty(), "the update has not run");
        let standing = || {
            let head = bench.disk.ledger.snapshot().unwrap().head(slot).unwrap();
            Standing::of(&head)
        };
        bench.checkpoint();
        assert_ne!(context.standing.get(), before);
        assert_eq!(context.standing.get(), standing());
        assert_eq!(applied(now(&mut delivery)), [true]);
        drop(delivery);
        bench.shard.run_stretch();
        bench.commit();
        let reply = now(&mut update).expect("it has run").unwrap();
        bench.checkpoint();
        assert_eq!(reply.root, standing().root);
        assert_eq!(context.standing.get(), standing());
    }

    /// As far as the snapshot goes it has ended already.
    #[test]
    fn what_is_shown_holds_no_context_that_is_brought_into_memory() {
        let disk = Disk::new();
        disk.create(1);
        let bench = Bench::new(disk);
        let mut delivery = deliver(&bench, vec![Peer::new().write(9, "a", "theirs")]);
        assert!(now(&mut delivery).is_none());
        bench.commit();
        assert!(now(&mut delivery).is_none(), "no snapshot shows it");
        bench.checkpoint();
        let mut update = call(&bench, "keep");
        assert!(now(&mut update).is_none());
        assert!(!bench.queue.is_empty(), "the update has run");
        bench.commit();
        let context = block_on(bench.shard.revive(fixture::id(1))).unwrap();
        let standing = context.standing.get();
        bench.checkpoint();
        assert_eq!(context.standing.get(), standing, "the update's");
        assert!(now(&mut update).is_some_and(|end| end.is_ok()));
        assert_eq!(applied(now(&mut delivery)), [true]);
    }

    #[test]
    fn updates_wait_for_a_delivery_and_queries_go_on_with_the_state_before() {
        let disk = Disk::new();
        let slot = disk.create(1);
        let bench = Bench::new(disk);
        let context = block_on(bench.shard.revive(fixture::id(1))).unwrap();
        let before = context.standing.get();
        let peer = Peer::new();
        let mut delivery = deliver(&bench, vec![peer.write(9, "a", "theirs")]);
        assert!(now(&mut delivery).is_none());
        let mut update = call(&bench, "keep");
        assert!(now(&mut update).is_none());
        bench.commit();
        assert!(now(&mut delivery).is_none(), "no snapshot shows it");
        assert_eq!(context.standing.get(), before);
        let mut query = call(&bench, "peek");
        let reply = now(&mut query).expect("a query waits for nobody").unwrap();
        assert_eq!(reply.root, before.root, "of the state that it has read");
        bench.shard.run_stretch();
        assert!(bench.queue.is_empty(), "the update has not run");
        bench.checkpoint();
        assert_ne!(context.standing.get(), before);
        assert_eq!(applied(now(&mut delivery)), [true]);
        drop(delivery);
        bench.shard.run_stretch();
        bench.commit();
        assert!(now(&mut update).expect("it has run").is_ok());
        bench.checkpoint();
        assert_eq!(bench.disk.get(slot, "a").unwrap(), "theirs");
        assert_eq!(bench.disk.get(slot, "k").unwrap(), "null");
        assert_eq!(bench.shard.stats.deltas_applied.get(), 1);
        assert_eq!(bench.shard.stats.waiting.get(), 0);
        let mut seals = 0;
        let snapshot = bench.disk.ledger.snapshot().unwrap();
        snapshot
            .seals(slot, &mut |_, _| {
                seals += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(seals, 1, "others can be told who has made it");
    }

    /// It would begin with what the snapshot has shown before.
    #[test]
    fn a_context_is_not_brought_into_memory_during_a_delivery() {
        let disk = Disk::new();
        disk.create(1);
        let bench = Bench::new(disk);
        let peer = Peer::new();
        let deltas = vec![peer.write(9, "a", "1"), peer.write(10, "a", "2")];
        let mut delivery = deliver(&bench, deltas);
        assert!(now(&mut delivery).is_none());
        let mut query = call(&bench, "peek");
        assert!(now(&mut query).is_none());
        bench.commit();
        assert!(now(&mut query).is_none());
        bench.checkpoint();
        assert_eq!(applied(now(&mut delivery)), [true, true]);
        drop(delivery);
        let reply = now(&mut query).expect("nothing holds it up").unwrap();
        let shown = bench.shard.show_here(fixture::id(1)).unwrap();
        assert_eq!((reply.root, shown.version), (shown.root, 2));
    }

    #[test]
    fn each_delta_is_told_why_it_was_not_taken() {
        let disk = Disk::new();
        disk.create(1);
        let bench = Bench::new(disk);
        let peer = Peer::new();
        let first = peer.write(9, "a", "1");
        let left_out = peer.write(10, "a", "2");
        let third = peer.write(11, "a", "3");
        let far = u64::MAX >> 12;
        let early = peer.write(far, "a", "4");
        let deltas = vec![first.clone(), third, early, first, left_out];
        let mut delivery = deliver(&bench, deltas);
        for _ in 0..3 {
            assert!(now(&mut delivery).is_none());
            bench.commit();
        }
        assert!(now(&mut delivery).is_none());
        bench.checkpoint();
        let delivered = now(&mut delivery).expect("it has ended").unwrap();
        let [
            Delivered::Applied,
            Delivered::Refused(missing),
            Delivered::FromTheFuture(_),
            Delivered::Refused(before),
            Delivered::Applied,
        ] = &delivered[..]
        else {
            panic!("{delivered:?}")
        };
        assert!(matches!(**missing, Refused::ParentsMissing { .. }));
        assert!(matches!(**before, Refused::AppliedBefore { .. }));
        let stats = &bench.shard.stats;
        assert_eq!(
            (stats.deltas_applied.get(), stats.deltas_refused.get()),
            (2, 3)
        );
    }

    /// Nothing is written for it, so nothing is going to be shown either.
    #[test]
    fn what_is_known_already_waits_for_no_checkpoint() {
        let disk = Disk::new();
        disk.create(1);
        let bench = Bench::new(disk);
        let delta = Peer::new().write(9, "a", "theirs");
        for is_known in [false, true] {
            let mut delivery = deliver(&bench, vec![delta.clone()]);
            assert!(now(&mut delivery).is_none());
            bench.commit();
            if !is_known {
                assert!(now(&mut delivery).is_none());
                bench.checkpoint();
            }
            assert_eq!(applied(now(&mut delivery)), [!is_known]);
        }
    }

    #[test]
    fn a_failed_delivery_lets_go_of_its_context_and_can_be_made_again() {
        let disk = Disk::new();
        disk.create(1);
        let bench = Bench::new(disk);
        drop(block_on(bench.shard.revive(fixture::id(1))).unwrap());
        let delta = Peer::new().write(9, "a", "theirs");
        let mut delivery = deliver(&bench, vec![delta.clone()]);
        assert!(now(&mut delivery).is_none());
        let second = now(&mut deliver(&bench, vec![delta.clone()]));
        assert!(matches!(second, Some(Err(CallError::Busy { .. }))));
        bench.fail();
        assert!(matches!(now(&mut delivery), Some(Err(CallError::Store(_)))));
        drop(delivery);
        let mut update = call(&bench, "keep");
        assert!(now(&mut update).is_none());
        bench.commit();
        assert!(now(&mut update).expect("nobody holds the context").is_ok());
        let mut again = deliver(&bench, vec![delta]);
        assert!(now(&mut again).is_none());
        bench.commit();
        bench.checkpoint();
        assert_eq!(applied(now(&mut again)), [true]);
    }

    #[test]
    fn a_delivery_is_bounded_and_goes_in_rounds() {
        let disk = Disk::new();
        disk.create(1);
        let bench = Bench::new(disk);
        let peer = Peer::new();
        let deltas: Vec<_> = (0..300).map(|n| peer.write(9 + n, "a", "1")).collect();
        let too_many = vec![deltas[0].clone(); DELIVERY_DELTAS_MAX + 1];
        let refused = now(&mut deliver(&bench, too_many));
        assert!(matches!(
            refused,
            Some(Err(CallError::TooMuch { max: 10_000, .. }))
        ));
        let mut delivery = deliver(&bench, deltas);
        assert!(now(&mut delivery).is_none());
        // Each with its seal.
        assert_eq!(bench.queue.len(), 2 * ROUND_DELTAS);
        bench.commit();
        assert!(now(&mut delivery).is_none());
        bench.commit();
        assert!(now(&mut delivery).is_none());
        bench.checkpoint();
        assert_eq!(applied(now(&mut delivery)), [true; 300]);
    }
}
