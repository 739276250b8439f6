//! The side of the context whose events are told: which shards have contexts that listen to it, and
//! what there is to be told behind a place in its log. Owned by the shard of that context.
//!
//! Nothing of it is on the disk. A shard listens from when it has first asked, which it does for all
//! of its subscriptions when it starts; it is told of what becomes durable behind what it was
//! given. Several events, and several contexts, are one word, and a shard gets the next one when
//! it has taken the one before.

use std::cell::{Cell, Ref, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::{Bound, ControlFlow};
use std::rc::Rc;
use std::task::{Poll, Waker};

use bytes::Bytes;
use corelet_store::{ContextId, ContextSlot, ShardId, Snapshot, StoreError};
use corelet_wasm_host::is_shallow;

use super::row::Place;
use super::told::{Told, ToldEvent, Wanted};
use crate::error::CallError;
use crate::events::EventRecord;
use crate::large::Large;
use crate::message::{Request, Response};
use crate::shard::Shard;

/// Contexts of a shard that somebody listens to. Those who listen to one more ask now and then.
const SOURCES_MAX: usize = 100_000;

/// Events that are looked at for one answer, and their bytes, beyond the first: that is done in one
/// go.
const LOOKED_AT_MAX: usize = 1_000;
const LOOKED_AT_BYTES_MAX: usize = 1 << 20;

/// Contexts that one word is of.
const WORD_MAX: usize = 1_000;

/// Which shards listen to the contexts of this one.
#[derive(Default)]
pub(crate) struct Listeners {
    /// By context, and when each has last said so.
    shards: RefCell<HashMap<ContextId, Vec<(ShardId, u64)>>>,
    /// What is to be told to whom: the contexts of which there are new events.
    news: RefCell<BTreeMap<ShardId, BTreeSet<ContextId>>>,
    /// Counts what is said, so that the order of it is known.
    said: Cell<u64>,
    /// Who was told last.
    last: Cell<Option<ShardId>>,
    task: RefCell<Option<Waker>>,
}

/// A word to a shard.
struct News {
    to: ShardId,
    sources: Vec<ContextId>,
    /// What was said when it was put together.
    said: u64,
}

impl Listeners {
    /// There are new events of a context, which are durable.
    pub(crate) fn told(&self, source: ContextId) {
        let shards = self.shards.borrow();
        // Most often nobody listens to anything.
        if shards.is_empty() {
            return;
        }
        let Some(shards) = shards.get(&source) else {
            return;
        };
        let mut news = self.news.borrow_mut();
        for (shard, _) in shards {
            news.entry(*shard).or_default().insert(source);
        }
        if let Some(task) = self.task.borrow_mut().take() {
            task.wake();
        }
    }

    /// A context is gone: that is the last that is told of it.
    pub(crate) fn gone(&self, source: ContextId) {
        self.told(source);
        self.shards.borrow_mut().remove(&source);
    }

    /// A shard listens to a context from now on, if there is room for that.
    fn listen(&self, source: ContextId, shard: ShardId) -> bool {
        let said = self.said.get() + 1;
        self.said.set(said);
        let mut shards = self.shards.borrow_mut();
        if shards.len() >= SOURCES_MAX && !shards.contains_key(&source) {
            return false;
        }
        let those = shards.entry(source).or_default();
        match those.iter_mut().find(|(it, _)| *it == shard) {
            Some((_, last)) => *last = said,
            None => those.push((shard, said)),
        }
        true
    }

    /// A shard has nobody who listens to a context, unless it has said otherwise since `said`.
    fn forget(&self, source: ContextId, shard: ShardId, said: u64) {
        let mut shards = self.shards.borrow_mut();
        if let Some(those) = shards.get_mut(&source) {
            those.retain(|(it, last)| *it != shard || *last > said);
            if those.is_empty() {
                shards.remove(&source);
            }
        }
    }

    /// The next word.
    async fn next(&self) -> News {
        std::future::poll_fn(|cx| match self.take_news() {
            Some(news) => Poll::Ready(news),
            None => {
                self.task.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }

    fn take_news(&self) -> Option<News> {
        let mut news = self.news.borrow_mut();
        // In turns, or a shard for which there is always something would keep the others out.
        let last = self.last.get().map_or(Bound::Unbounded, Bound::Excluded);
        let next = news.range((last, Bound::Unbounded)).next();
        let to = *next.or_else(|| news.first_key_value())?.0;
        self.last.set(Some(to));
        let mut sources: Vec<_> = news.remove(&to)?.into_iter().collect();
        if sources.len() > WORD_MAX {
            let rest = sources.split_off(WORD_MAX);
            news.insert(to, rest.into_iter().collect());
        }
        Some(News {
            to,
            sources,
            said: self.said.get(),
        })
    }
}

impl Shard {
    /// Tells other shards what there is new of the contexts of this one, until the node begins to
    /// stop.
    pub(crate) async fn run_news(self: Rc<Self>, draining: impl Future<Output = ()>) {
        let work = async {
            loop {
                let news = self.commits.listeners().next().await;
                self.tell_news(news).await;
            }
        };
        futures_lite::future::or(draining, work).await;
    }

    async fn tell_news(self: &Rc<Self>, news: News) {
        let News { to, sources, said } = news;
        let unheard = if to == self.id {
            Ok(self.hear_of_here(&sources))
        } else {
            match self.mesh.ask(to, Request::HearOf { sources }).await {
                Ok(Response::HearOf { unheard }) => Ok(unheard),
                Ok(_) => Err(CallError::bug("a shard answered another question")),
                Err(error) => Err(error),
            }
        };
        match unheard {
            Ok(unheard) => {
                let listeners = self.commits.listeners();
                let forget = |source| listeners.forget(source, to, said);
                unheard.into_iter().for_each(forget);
            }
            Err(error) => {
                tracing::error!(shard = self.id.number(), %error, "another shard could not be told of new events; who listens to those is told with the next ones");
            }
        }
    }

    /// What there is to be told of a context of this shard, to which the shard `by` listens from now
    /// on.
    pub(crate) fn told_here(
        self: &Rc<Self>,
        by: ShardId,
        wanted: &Wanted,
    ) -> Result<Told, CallError> {
        self.check_service(wanted.source)?;
        let told = self.read_told(by, wanted);
        self.quarantine_if_damaged(wanted.source, &told);
        told
    }

    fn read_told(&self, by: ShardId, wanted: &Wanted) -> Result<Told, CallError> {
        let snapshot = self.snapshots.latest();
        let record = snapshot.context(&wanted.source)?;
        let record = record.ok_or_else(|| CallError::ContextNotFound {
            context: wanted.source.to_string(),
        })?;
        // What becomes durable behind what is read now is told of.
        let is_heard = self.commits.listeners().listen(wanted.source, by);
        let head = snapshot.head(record.slot)?;
        let contexts = self.contexts.borrow();
        let settled = contexts.peek(&wanted.source);
        let settled = settled.map(|context| context.events.borrow());
        let newest = settled.as_ref().and_then(|settled| settled.back());
        let log = Log {
            last: newest.map_or(head.events_last, |event| event.sequence),
            snapshot: &snapshot,
            slot: record.slot,
            first: head.events_first,
            shown: head.events_last,
            settled,
        };
        let told = log.told(wanted)?;
        Ok(Told { is_heard, ..told })
    }
}

/// The events of a context that are durable.
struct Log<'a> {
    snapshot: &'a Snapshot,
    slot: ContextSlot,
    /// The oldest that is kept, the last in the snapshot, and the newest.
    first: u64,
    shown: u64,
    last: u64,
    /// Those behind the snapshot.
    settled: Option<Ref<'a, Large<VecDeque<EventRecord>>>>,
}

impl Log<'_> {
    fn told(&self, wanted: &Wanted) -> Result<Told, StoreError> {
        let after = match wanted.place {
            // Nobody has told more: it was another's log, of which this is an older copy.
            Place::Behind(number) => number.min(self.last),
            Place::Since(stamp) => self.last_until(stamp)?,
        };
        let mut page = Page {
            wanted,
            told: Told {
                after,
                until: after,
                ..Told::default()
            },
            looked_at: 0,
            looked_at_bytes: 0,
            bytes: 0,
        };
        if after + 1 < self.first {
            page.told.gap = Some((after + 1, self.first - 1));
            page.told.until = self.first - 1;
        }
        let from = page.told.until + 1;
        let mut flow = ControlFlow::Continue(());
        if from <= self.shown {
            let limit = LOOKED_AT_MAX + 1;
            self.snapshot.events(self.slot, from, limit, &mut |event| {
                let micros = event.hlc.micros();
                flow = page.look_at(event.sequence, micros, event.kind, event.payload);
                flow
            })?;
        }
        for event in self.settled_from(from.max(self.shown + 1)) {
            if flow.is_break() {
                break;
            }
            let micros = event.hlc.micros();
            flow = page.look_at(event.sequence, micros, &event.kind, &event.payload);
        }
        let more = flow.is_break() && page.told.until < self.last;
        Ok(Told { more, ..page.told })
    }

    /// The last event of which the stamp is not greater. Stamps grow, but for those of other
    /// nodes.
    fn last_until(&self, stamp: u64) -> Result<u64, StoreError> {
        let (mut low, mut high) = (self.first - 1, self.last + 1);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match self.stamp(middle)? {
                Some(its) if its > stamp => high = middle,
                _ => low = middle,
            }
        }
        Ok(low)
    }

    /// The events behind the snapshot from this one on. Their numbers have no gaps.
    fn settled_from(&self, sequence: u64) -> impl Iterator<Item = &EventRecord> {
        self.settled.iter().flat_map(move |settled| {
            let first = settled.front().map_or(0, |event| event.sequence);
            let before = usize::try_from(sequence.saturating_sub(first));
            settled.iter().skip(before.unwrap_or(usize::MAX))
        })
    }

    fn stamp(&self, sequence: u64) -> Result<Option<u64>, StoreError> {
        let mut found = None;
        if sequence > self.shown {
            let event = self.settled_from(sequence).next();
            return Ok(event.map(|event| event.hlc.bits()));
        }
        self.snapshot.events(self.slot, sequence, 1, &mut |event| {
            found = (event.sequence == sequence).then(|| event.hlc.bits());
            ControlFlow::Break(())
        })?;
        Ok(found)
    }
}

/// What there is to be told, being put together.
struct Page<'a> {
    wanted: &'a Wanted,
    told: Told,
    looked_at: usize,
    looked_at_bytes: usize,
    bytes: usize,
}

impl Page<'_> {
    /// Takes in the next event, or ends before it.
    fn look_at(
        &mut self,
        sequence: u64,
        micros: u64,
        kind: &str,
        payload: &[u8],
    ) -> ControlFlow<()> {
        let Wanted {
            kind: wanted,
            events_max,
            bytes_max,
            event_bytes_max,
            ..
        } = self.wanted;
        let told = &mut self.told;
        if self.looked_at >= LOOKED_AT_MAX || self.looked_at_bytes >= LOOKED_AT_BYTES_MAX {
            return ControlFlow::Break(());
        }
        self.looked_at += 1;
        self.looked_at_bytes += kind.len() + payload.len();
        if wanted.as_deref().is_some_and(|wanted| wanted != kind) {
            told.until = sequence;
            return ControlFlow::Continue(());
        }
        let bytes = ToldEvent::bytes(kind, payload);
        let is_first = told.events.is_empty();
        if told.events.len() >= *events_max || (!is_first && self.bytes + bytes > *bytes_max) {
            return ControlFlow::Break(());
        }
        if bytes > *event_bytes_max || is_shallow(payload).is_err() {
            if is_first {
                // No handler could ever take it.
                let from = told.gap.map_or(sequence, |(from, _)| from);
                told.gap = Some((from, sequence));
                told.until = sequence;
            }
            return ControlFlow::Break(());
        }
        self.bytes += bytes;
        told.until = sequence;
        told.events.push(ToldEvent {
            sequence,
            micros,
            kind: kind.to_owned(),
            payload: Bytes::copy_from_slice(payload),
        });
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use corelet_store::{Change, Event, Hlc, ShardCount};
    use futures_lite::future::block_on;

    use super::*;
    use crate::fixture::{self, Bench, Disk};

    fn shard(n: u16) -> ShardId {
        ShardId::new(n, ShardCount::new(2).unwrap()).unwrap()
    }

    /// Has the first context tell these events at microsecond `now`.
    fn tell(bench: &Bench, slot: ContextSlot, now: u64, events: &[(&str, &str)]) {
        let context = block_on(bench.shard.revive(fixture::id(1))).unwrap();
        let mut change = fixture::call(1, slot, now, &[]);
        if let Change::Call(call) = &mut change {
            let event = |(kind, payload): &(&str, &str)| Event {
                kind: (*kind).to_owned(),
                payload: Bytes::copy_from_slice(payload.as_bytes()),
            };
            call.events = events.iter().map(event).collect();
        }
        let bytes = change.bytes();
        let wrote = Some((&*context, Vec::new(), None));
        let _answer = bench.shard.commits.submit(change, bytes, wrote).unwrap();
    }

    fn behind(number: u64) -> Wanted {
        Wanted {
            source: fixture::id(1),
            place: Place::Behind(number),
            kind: None,
            events_max: 10,
            bytes_max: 10_000,
            event_bytes_max: 10_000,
        }
    }

    fn since(stamp: u64) -> Wanted {
        Wanted {
            place: Place::Since(stamp),
            ..behind(0)
        }
    }

    /// The numbers of the events, behind which it was looked, up to which, and whether there are more.
    fn told(bench: &Bench, wanted: &Wanted) -> (Vec<u64>, u64, u64, bool) {
        let told = bench.shard.told_here(shard(0), wanted).unwrap();
        assert!(told.is_heard && told.gap.is_none());
        let numbers = told.events.iter().map(|event| event.sequence);
        (numbers.collect(), told.after, told.until, told.more)
    }

    #[test]
    fn events_are_told_behind_a_number_or_a_moment_wherever_they_lie() {
        let disk = Disk::new();
        let slot = disk.create(1);
        let bench = Bench::new(disk);
        let at = |micros| Hlc::from_micros(micros).bits();
        assert_eq!(told(&bench, &behind(0)), (vec![], 0, 0, false));
        tell(&bench, slot, 2, &[("said", "1"), ("done", "2")]);
        assert_eq!(
            told(&bench, &behind(0)),
            (vec![], 0, 0, false),
            "it may be lost yet"
        );
        bench.commit();
        assert_eq!(told(&bench, &behind(0)), (vec![1, 2], 0, 2, false));
        bench.checkpoint();
        tell(&bench, slot, 5, &[("said", "3")]);
        bench.commit();
        for _ in ["partly in memory", "in the snapshot"] {
            let all = (vec![1, 2, 3], 0, 3, false);
            assert_eq!(told(&bench, &behind(0)), all);
            assert_eq!(told(&bench, &since(at(1))), all);
            assert_eq!(told(&bench, &since(at(2) - 1)), all);
            assert_eq!(told(&bench, &since(at(2))), (vec![3], 2, 3, false));
            assert_eq!(told(&bench, &since(at(5))), (vec![], 3, 3, false));
            assert_eq!(told(&bench, &since(u64::MAX)), (vec![], 3, 3, false));
            // Of an older copy of the context.
            assert_eq!(told(&bench, &behind(9)), (vec![], 3, 3, false));
            let of_kind = |kind: &str, after| Wanted {
                kind: Some(kind.to_owned()),
                ..behind(after)
            };
            assert_eq!(told(&bench, &of_kind("said", 0)), (vec![1, 3], 0, 3, false));
            assert_eq!(told(&bench, &of_kind("else", 1)), (vec![], 1, 3, false));
            bench.checkpoint();
        }
        let unknown = Wanted {
            source: fixture::id(9),
            ..behind(0)
        };
        let unknown = bench.shard.told_here(shard(0), &unknown);
        assert!(matches!(unknown, Err(CallError::ContextNotFound { .. })));
    }

    #[test]
    fn what_is_told_at_once_is_bounded_and_what_is_too_long_is_missing() {
        let disk = Disk::new();
        let slot = disk.create(1);
        let bench = Bench::new(disk);
        let deep = "[".repeat(121) + &"]".repeat(121);
        tell(
            &bench,
            slot,
            2,
            &[
                ("said", "1"),
                ("said", "22"),
                ("said", "3"),
                ("said", &deep),
            ],
        );
        bench.commit();
        let one = Wanted {
            events_max: 1,
            ..behind(1)
        };
        assert_eq!(told(&bench, &one), (vec![2], 1, 2, true));
        let few = Wanted {
            bytes_max: 2 * ToldEvent::bytes("said", b"22"),
            ..behind(0)
        };
        assert_eq!(told(&bench, &few), (vec![1, 2], 0, 2, true));
        let first = Wanted {
            bytes_max: 1,
            ..behind(0)
        };
        assert_eq!(told(&bench, &first), (vec![1], 0, 1, true));
        let short = |after| Wanted {
            event_bytes_max: ToldEvent::bytes("said", b"1"),
            ..behind(after)
        };
        assert_eq!(told(&bench, &short(0)), (vec![1], 0, 1, true));
        for (after, is_last) in [(1, false), (3, true)] {
            let told = bench.shard.told_here(shard(0), &short(after)).unwrap();
            assert!(told.events.is_empty());
            assert_eq!(told.gap, Some((after + 1, after + 1)));
            assert_eq!((told.until, told.more), (after + 1, !is_last));
        }
        // It is short enough, and nobody could read it.
        assert_eq!(told(&bench, &behind(0)), (vec![1, 2, 3], 0, 3, true));
        let last = bench.shard.told_here(shard(0), &behind(3)).unwrap();
        assert_eq!((last.gap, last.more), (Some((4, 4)), false));
    }

    #[test]
    fn whoever_listens_is_told_of_what_becomes_durable_until_nobody_does() {
        let disk = Disk::new();
        let slot = disk.create(1);
        let bench = Bench::new(disk);
        let listeners = bench.shard.commits.listeners();
        let news = || {
            let news = listeners.take_news()?;
            Some((news.to.number(), news.sources, news.said))
        };
        tell(&bench, slot, 2, &[("said", "1")]);
        bench.commit();
        assert_eq!(news(), None, "nobody listens");
        for by in [0, 1, 0] {
            bench.shard.told_here(shard(by), &behind(0)).unwrap();
        }
        tell(&bench, slot, 3, &[("said", "2")]);
        tell(&bench, slot, 4, &[("said", "3")]);
        assert_eq!(news(), None, "it may be lost yet");
        bench.commit();
        let one = || vec![fixture::id(1)];
        assert_eq!(news(), Some((0, one(), 3)));
        assert_eq!(news(), Some((1, one(), 3)));
        assert_eq!(news(), None);
        // One that has asked again since it was told listens.
        bench.shard.told_here(shard(0), &behind(3)).unwrap();
        listeners.forget(fixture::id(1), shard(0), 3);
        listeners.forget(fixture::id(1), shard(1), 3);
        listeners.told(fixture::id(1));
        assert_eq!(news(), Some((0, one(), 4)));
        listeners.gone(fixture::id(1));
        assert_eq!(news(), Some((0, one(), 4)));
        listeners.told(fixture::id(1));
        assert_eq!(news(), None);
        assert!(listeners.shards.borrow().is_empty());
    }
}
