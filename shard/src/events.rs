//! Reading a context's event log: a page behind a sequence number, from the snapshot and,
//! behind that, from what is durable and in no snapshot yet. Reads only: which events
//! are kept is the store's to say.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::rc::Rc;

use bytes::Bytes;
use corelet_store::{ContextId, DeltaId, Hlc};

use crate::error::CallError;
use crate::large::{PIECE_BYTES, Weigh};
use crate::shard::Shard;

/// Kinds and payloads in one page, beyond its first event. A page is made in one go.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// A durable event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecord {
    /// Counts the context's events without gaps, from 1 or from behind what a copy was made of.
    pub sequence: u64,
    /// The delta that it came with.
    pub delta_id: DeltaId,
    /// When.
    pub hlc: Hlc,
    /// What happened, in the application's words.
    pub kind: String,
    /// The details: JSON.
    pub payload: Bytes,
}

impl Weigh for VecDeque<EventRecord> {
    fn memory_bytes(&self) -> usize {
        // A kind and a payload.
        let bytes = self
            .iter()
            .map(|event| event.kind.len() + event.payload.len());
        self.len() * 2 * PIECE_BYTES + bytes.sum::<usize>()
    }
}

/// A part of a context's event log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsPage {
    /// In their order, without gaps.
    pub events: Vec<EventRecord>,
    /// Events that were asked for and are not kept any more: the first and the last of them.
    pub gap: Option<(u64, u64)>,
    /// What to ask for next: the events behind this one.
    pub next: u64,
    /// The context's newest event; 0 if there was none yet.
    pub last: u64,
}

/// Where a reader goes on who has everything up to `after`: the first event to give, and
/// those before it that are gone. `first` is the oldest that is kept, `last` the newest
/// there is.
fn go_on(after: u64, first: u64, last: u64) -> Result<(u64, Option<(u64, u64)>), CallError> {
    if after > last {
        return Err(CallError::NoSuchEvent { after, last });
    }
    match after + 1 < first {
        true => Ok((first, Some((after + 1, first - 1)))),
        false => Ok((after + 1, None)),
    }
}

impl Shard {
    /// Up to `limit` durable events of a context behind number `after`.
    pub(crate) fn events_here(
        self: &Rc<Self>,
        id: ContextId,
        after: u64,
        limit: usize,
    ) -> Result<EventsPage, CallError> {
        // Of a context out of service some that readers have got may be put aside: the log
        // that is left would tell them that they cannot have them.
        self.check_service(id)?;
        let end = self.read_events(id, after, limit);
        self.quarantine_if_damaged(id, &end);
        end
    }

    fn read_events(
        &self,
        id: ContextId,
        after: u64,
        limit: usize,
    ) -> Result<EventsPage, CallError> {
        let snapshot = self.snapshots.latest();
        let record = snapshot.context(&id)?;
        let record = record.ok_or_else(|| CallError::ContextNotFound {
            context: id.to_string(),
        })?;
        let head = snapshot.head(record.slot)?;
        let contexts = self.contexts.borrow();
        let settled = contexts.peek(&id).map(|context| context.events.borrow());
        let newest = settled.as_ref().and_then(|settled| settled.back());
        let last = newest.map_or(head.events_last, |event| event.sequence);
        let (from, gap) = go_on(after, head.events_first, last)?;
        let mut page = Page {
            events: Vec::new(),
            bytes: 0,
            limit,
        };
        if from <= head.events_last {
            snapshot.events(record.slot, from, limit, &mut |event| {
                let size = event.kind.len() + event.payload.len();
                page.add(size, || EventRecord {
                    sequence: event.sequence,
                    delta_id: event.delta,
                    hlc: event.hlc,
                    kind: event.kind.to_owned(),
                    payload: Bytes::copy_from_slice(event.payload),
                })
            })?;
        }
        for event in settled.iter().flat_map(|settled| settled.iter()) {
            let is_next = event.sequence == from + page.events.len() as u64;
            let size = event.kind.len() + event.payload.len();
            if is_next && page.add(size, || event.clone()).is_break() {
                break;
            }
        }
        let next = page.events.last().map_or(from - 1, |event| event.sequence);
        Ok(EventsPage {
            events: page.events,
            gap,
            next,
            last,
        })
    }
}

/// A page being filled.
struct Page {
    events: Vec<EventRecord>,
    bytes: usize,
    limit: usize,
}

impl Page {
    /// Adds an event if there is room for it.
    fn add(&mut self, bytes: usize, event: impl FnOnce() -> EventRecord) -> ControlFlow<()> {
        let is_full = self.events.len() >= self.limit
            || (!self.events.is_empty() && self.bytes + bytes > PAGE_BYTES_MAX);
        if is_full {
            return ControlFlow::Break(());
        }
        self.bytes += bytes;
        self.events.push(event());
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use corelet_store::ContextSlot;

    use super::*;
    use crate::fixture::{self, Bench, Disk};
    use crate::rt::ExecutorConfig;

    #[test]
    fn a_reader_goes_on_behind_what_it_has_and_is_told_of_a_gap() {
        let at = |after, first, last| match go_on(after, first, last) {
            Ok(found) => Some(found),
            Err(CallError::NoSuchEvent { .. }) => None,
            Err(other) => panic!("{other}"),
        };
        assert_eq!(at(0, 1, 0), Some((1, None)), "there are none");
        assert_eq!(at(0, 1, 9), Some((1, None)));
        assert_eq!(at(4, 1, 9), Some((5, None)));
        assert_eq!(at(9, 1, 9), Some((10, None)));
        assert_eq!(at(10, 1, 9), None, "nobody can have seen that one");
        assert_eq!(at(0, 5, 9), Some((5, Some((1, 4)))));
        assert_eq!(at(3, 5, 9), Some((5, Some((4, 4)))));
        assert_eq!(at(4, 5, 9), Some((5, None)));
        // None of them is kept any more.
        assert_eq!(at(4, 10, 9), Some((10, Some((5, 9)))));
        assert_eq!(at(9, 10, 9), Some((10, None)));
    }

    fn tell(bench: &Bench, slot: ContextSlot, now: u64, payloads: &[&[u8]]) {
        let payloads = payloads
            .iter()
            .map(|payload| str::from_utf8(payload).unwrap());
        let said: Vec<_> = payloads.map(|payload| ("said", payload)).collect();
        bench.tell(slot, now, &said);
    }

    fn read(bench: &Bench, after: u64, limit: usize) -> (Vec<u64>, u64, u64) {
        let page = bench.shard.events_here(fixture::id(1), after, limit);
        let page = page.unwrap();
        let sequences = page.events.iter().map(|event| event.sequence);
        assert_eq!(page.gap, None);
        (sequences.collect(), page.next, page.last)
    }

    #[test]
    fn events_are_given_when_they_are_durable_wherever_they_lie() {
        let disk = Disk::new();
        let slot = disk.create(1);
        let bench = Bench::new(disk);
        assert_eq!(read(&bench, 0, 10), (vec![], 0, 0));
        tell(&bench, slot, 2, &[b"1", b"2"]);
        assert_eq!(read(&bench, 0, 10), (vec![], 0, 0), "it may be lost yet");
        bench.commit();
        assert_eq!(read(&bench, 0, 10), (vec![1, 2], 2, 2));
        let page = bench.shard.events_here(fixture::id(1), 1, 1).unwrap();
        assert_eq!(&page.events[0].payload[..], b"2");
        assert!(
            !bench.shard.live(fixture::id(1)).unwrap().is_shown(),
            "it is in memory only"
        );
        let settled = page.events;
        bench.checkpoint();
        let page = bench.shard.events_here(fixture::id(1), 1, 1).unwrap();
        assert_eq!(page.events, settled);
        assert!(bench.shard.live(fixture::id(1)).unwrap().is_shown());

        tell(&bench, slot, 3, &[b"3", b"4"]);
        bench.commit();
        assert_eq!(read(&bench, 0, 10), (vec![1, 2, 3, 4], 4, 4));
        assert_eq!(read(&bench, 1, 2), (vec![2, 3], 3, 4));
        assert_eq!(read(&bench, 3, 10), (vec![4], 4, 4));
        assert_eq!(read(&bench, 4, 10), (vec![], 4, 4));
        let beyond = bench.shard.events_here(fixture::id(1), 5, 10);
        assert!(matches!(
            beyond,
            Err(CallError::NoSuchEvent { after: 5, last: 4 })
        ));
        let unknown = bench.shard.events_here(fixture::id(9), 0, 10);
        assert!(matches!(unknown, Err(CallError::ContextNotFound { .. })));
    }

    #[test]
    fn a_context_out_of_service_gives_no_events() {
        let disk = Disk::new();
        let slot = disk.create(1);
        let bench = Bench::new(disk);
        tell(&bench, slot, 2, &[b"1", b"2"]);
        bench.commit();
        assert_eq!(read(&bench, 0, 10), (vec![1, 2], 2, 2));
        bench
            .shard
            .put_out_of_service(fixture::id(1), Arc::from("damage"));
        // Not that nobody can have seen the second, as no snapshot has any.
        for after in [0, 2] {
            let refused = bench.shard.events_here(fixture::id(1), after, 10);
            assert!(
                matches!(refused, Err(CallError::OutOfService { .. })),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn a_damaged_event_takes_its_context_out_of_service() {
        let scenario = async || {
            let disk = Disk::new();
            let slot = disk.create(1);
            let bench = Bench::new(disk);
            tell(&bench, slot, 2, &[b"an event that is damaged"]);
            bench.commit();
            bench.checkpoint();
            bench.disk.flip(b"an event that is", 3);
            let met = bench.shard.events_here(fixture::id(1), 0, 10);
            assert!(
                matches!(&met, Err(error) if error.damage().is_some()),
                "{met:?}"
            );
            let then = bench.shard.events_here(fixture::id(1), 0, 10);
            assert!(
                matches!(then, Err(CallError::OutOfService { .. })),
                "{then:?}"
            );
        };
        crate::rt::run("a test", &ExecutorConfig::default(), scenario).unwrap();
    }

    #[test]
    fn a_page_has_so_many_bytes_and_one_event_at_least() {
        static LARGE: [u8; PAGE_BYTES_MAX] = [b' '; PAGE_BYTES_MAX];
        let disk = Disk::new();
        let slot = disk.create(1);
        let bench = Bench::new(disk);
        tell(&bench, slot, 2, &[&LARGE, b"2", b"3", &LARGE]);
        bench.commit();
        for _ in ["in memory", "in the snapshot"] {
            assert_eq!(read(&bench, 0, 10), (vec![1], 1, 4));
            assert_eq!(read(&bench, 1, 10), (vec![2, 3], 3, 4));
            assert_eq!(read(&bench, 3, 10), (vec![4], 4, 4));
            bench.checkpoint();
        }
    }
}
