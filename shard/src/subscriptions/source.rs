//! What there is to be told of a context, behind a place in its log. Owned by the shard of that context.

use std::cell::Ref;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use corelet_store::{
    ContextSlot, Hlc, RENUMBERED_BY, RENUMBERED_FROM, ShardId, Snapshot, StoreError,
};
use corelet_wasm_host::is_shallow;

use super::passes;
use super::row::{Place, Point};
use super::told::{Told, ToldEvent, Wanted};
use crate::error::CallError;
use crate::events::EventRecord;
use crate::large::Large;
use crate::shard::Shard;

/// Events that are looked at for one answer, and their bytes, beyond the first: that is done in one
/// go.
const LOOKED_AT_MAX: usize = 1_000;
const LOOKED_AT_BYTES_MAX: usize = 512 << 10;

impl Shard {
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
        let last = newest.map_or(head.events_last, |event| event.sequence);
        let log = Log {
            last,
            is_renumbered: last >= RENUMBERED_FROM,
            snapshot: &snapshot,
            slot: record.slot,
            first: head.events_first,
            shown: head.events_last,
            settled,
        };
        // Before anything is read, so that no look goes uncounted.
        let is_counted = log.may_pass_over(wanted.place) >= passes::MANY;
        let passes = &self.subscriptions.passes;
        if is_counted && let Err(busy) = passes.admit(wanted.listener, Instant::now()) {
            self.stats.passes_refused.one();
            return Err(busy);
        }
        self.stats.hearings_looks.one();
        let looked = log.told(wanted);
        match &looked {
            Ok((_, passed_over)) if *passed_over >= passes::MANY => {
                self.stats.hearings_passed.one();
            }
            // What a handler is told it pays for.
            Ok(_) if is_counted => passes.take_back(),
            _ => {}
        }
        let (told, _) = looked?;
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
    /// Whether it came out of a copy, so that its events had other numbers before.
    is_renumbered: bool,
    /// Those behind the snapshot.
    settled: Option<Ref<'a, Large<VecDeque<EventRecord>>>>,
}

impl Log<'_> {
    /// How many events there are at most that may be passed over from this place on.
    fn may_pass_over(&self, place: Place) -> u64 {
        let kept = (self.last + 1).saturating_sub(self.first);
        match place {
            Place::Behind(point) if point.number + 1 >= self.first => {
                self.last.saturating_sub(point.number)
            }
            // It has to be looked for.
            Place::Behind(_) | Place::Since(_) => kept,
        }
    }

    /// What there is to be told, and how many events were looked at for nothing.
    fn told(&self, wanted: &Wanted) -> Result<(Told, u64), StoreError> {
        let (Found { after, from }, stamp) = match wanted.place {
            Place::Behind(point) => (self.find(point)?, point.stamp),
            Place::Since(stamp) => (Found::at(self.last_until(stamp)?), stamp),
        };
        // Of the event itself, so that it is found again, unless it is not kept.
        let is_point = matches!(wanted.place, Place::Behind(point) if point.number == from);
        let stamp = match is_point {
            true => stamp,
            false => self.stamp(from)?.unwrap_or(stamp),
        };
        let mut page = Page {
            wanted,
            told: Told {
                after,
                until: Point {
                    number: from,
                    stamp,
                },
                gap: (from > after).then_some((after + 1, from)),
                ..Told::default()
            },
            looked_at: 0,
            looked_at_bytes: 0,
            bytes: 0,
        };
        let from = from + 1;
        let mut flow = ControlFlow::Continue(());
        if from <= self.shown {
            let limit = LOOKED_AT_MAX + 1;
            self.snapshot.events(self.slot, from, limit, &mut |event| {
                flow = page.look_at(event.sequence, event.hlc, event.kind, event.payload);
                flow
            })?;
        }
        for event in self.settled_from(from.max(self.shown + 1)) {
            if flow.is_break() {
                break;
            }
            flow = page.look_at(event.sequence, event.hlc, &event.kind, &event.payload);
        }
        let more = flow.is_break() && page.told.until.number < self.last;
        let passed_over = page.looked_at.saturating_sub(page.told.events.len()) as u64;
        Ok((Told { more, ..page.told }, passed_over))
    }

    /// Where to go on behind a point.
    fn find(&self, point: Point) -> Result<Found, StoreError> {
        let number = point.number;
        if number > self.last {
            // It was another's log, of which this is an older copy.
            return Ok(Found::at(self.last));
        }
        if number + 1 >= self.first {
            return Ok(Found::at(number));
        }
        // Those behind it are not kept any more; or the log was brought in, and its numbers are others.
        let lost = Found {
            after: number,
            from: self.first - 1,
        };
        match self.is_renumbered {
            true => self.find_by_stamp(point, lost),
            false => Ok(lost),
        }
    }

    /// The same in a log of which the numbers may be others than that of the point.
    fn find_by_stamp(&self, point: Point, lost: Found) -> Result<Found, StoreError> {
        let Point { number, stamp } = point;
        let last = self.last_until(stamp)?;
        if last < self.first {
            // All that is kept is newer.
            return Ok(lost);
        }
        // Numbers that were given anew end as before, which tells apart those of one call.
        let by = i128::from(last) - i128::from(number);
        let before = by.rem_euclid(RENUMBERED_BY.into()) as u64;
        let same = last.checked_sub(before).filter(|same| *same >= self.first);
        Ok(match same {
            Some(same) if self.stamp(same)? == Some(stamp) => Found::at(same),
            // By their stamps these were told before. But those of other nodes come with earlier ones, so
            // whatever is left out here is missing.
            _ => Found { from: last, ..lost },
        })
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

/// Where to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    /// Behind which event it was asked, by the number that it has here if it has one.
    after: u64,
    /// Behind which one it goes on. Those between are missing.
    from: u64,
}

impl Found {
    /// Nothing is missing.
    fn at(after: u64) -> Found {
        Found { after, from: after }
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
    fn look_at(&mut self, sequence: u64, hlc: Hlc, kind: &str, payload: &[u8]) -> ControlFlow<()> {
        let point = Point {
            number: sequence,
            stamp: hlc.bits(),
        };
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
            told.until = point;
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
                told.until = point;
            }
            return ControlFlow::Break(());
        }
        self.bytes += bytes;
        told.until = point;
        told.events.push(ToldEvent {
            sequence,
            micros: hlc.micros(),
            kind: kind.to_owned(),
            payload: Bytes::copy_from_slice(payload),
        });
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use corelet_store::ShardCount;

    use super::*;
    use crate::fixture::{self, Bench, Disk};

    fn shard(n: u16) -> ShardId {
        ShardId::new(n, ShardCount::new(2).unwrap()).unwrap()
    }

    fn behind(number: u64) -> Wanted {
        Wanted {
            source: fixture::id(1),
            listener: fixture::id(2),
            place: Place::Behind(Point { number, stamp: 0 }),
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
        (numbers.collect(), told.after, told.until.number, told.more)
    }

    #[test]
    fn events_are_told_behind_a_number_or_a_moment_wherever_they_lie() {
        let disk = Disk::new();
        let slot = disk.create(1);
        let bench = Bench::new(disk);
        let at = |micros| Hlc::from_micros(micros).bits();
        assert_eq!(told(&bench, &behind(0)), (vec![], 0, 0, false));
        bench.tell(slot, 2, &[("said", "1"), ("done", "2")]);
        assert_eq!(
            told(&bench, &behind(0)),
            (vec![], 0, 0, false),
            "it may be lost yet"
        );
        bench.commit();
        assert_eq!(told(&bench, &behind(0)), (vec![1, 2], 0, 2, false));
        bench.checkpoint();
        bench.tell(slot, 5, &[("said", "3")]);
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

    /// As when a copy was brought in: its events have other numbers, which end as before.
    #[test]
    fn a_place_is_found_again_by_its_stamp_where_all_numbers_are_others() {
        let disk = Disk::new();
        let slot = disk.create(1);
        let bench = Bench::new(disk);
        for (micros, events) in [(2, 2), (5, 3), (7, 1)] {
            bench.tell(slot, micros, &vec![("said", "1"); events]);
        }
        bench.commit();
        bench.checkpoint();
        let snapshot = bench.shard.snapshots.latest();
        let log = |first, is_renumbered| Log {
            snapshot: &snapshot,
            slot,
            first,
            shown: 6,
            last: 6,
            is_renumbered,
            settled: None,
        };
        let point = |number, micros| Point {
            number,
            stamp: Hlc::from_micros(micros).bits(),
        };
        let at = Found::at;
        let missing = |after, from| Found { after, from };
        let lost = missing(0, 0);
        // Of three that one call has told the second was the last.
        let other = 4 * RENUMBERED_BY;
        for (number, micros) in [(1, 2), (2, 2), (3, 5), (4, 5), (5, 5), (6, 7)] {
            for before in [0, other] {
                let point = point(before + number, micros);
                let found = log(1, true).find_by_stamp(point, lost);
                assert_eq!(found.unwrap(), at(number));
            }
        }
        // Of an older copy, which has nothing of that call. Whether what it has was told is not certain.
        let find = |number, micros| log(1, true).find_by_stamp(point(number, micros), lost);
        assert_eq!(find(other + 9, 8).unwrap(), missing(0, 6));
        assert_eq!(find(other + 3, 4).unwrap(), missing(0, 2));
        assert_eq!(find(other, 1).unwrap(), lost, "all that is kept is newer");

        let find = |first, number, micros| {
            let find = |is_renumbered| log(first, is_renumbered).find(point(number, micros));
            [false, true].map(|is_renumbered| find(is_renumbered).unwrap())
        };
        assert_eq!(find(1, 4, 0), [at(4); 2]);
        assert_eq!(find(1, 9, 9), [at(6); 2]);
        assert_eq!(find(5, 4, 9), [at(4); 2], "nothing is missing");
        assert_eq!(find(5, 2, 0), [missing(2, 4); 2], "two are");
        // A stamp finds nothing where no number was ever another, as other nodes' events have earlier ones:
        // all that is kept is told.
        assert_eq!(find(5, 2, 9), [missing(2, 4), missing(2, 6)]);
        assert_eq!(find(3, 1, 5), [missing(1, 2), missing(1, 5)]);
    }

    /// A listener that falls behind while other nodes' events come, which are older by their stamps than the event
    /// that it was told last, and which is not kept.
    #[test]
    fn whatever_is_kept_behind_the_horizon_is_told_or_told_to_be_missing() {
        let disk = Disk::new();
        let slot = disk.create(1);
        let bench = Bench::new(disk);
        for (micros, events) in [(2, 2), (3, 2), (5, 2)] {
            bench.tell(slot, micros, &vec![("said", "1"); events]);
        }
        bench.commit();
        bench.checkpoint();
        let snapshot = bench.shard.snapshots.latest();
        for (is_renumbered, numbers, gap) in [(false, vec![5, 6], (3, 4)), (true, vec![], (3, 6))] {
            let log = Log {
                snapshot: &snapshot,
                slot,
                first: 5,
                shown: 6,
                last: 6,
                is_renumbered,
                settled: None,
            };
            let wanted = Wanted {
                place: Place::Behind(Point {
                    number: 2,
                    stamp: Hlc::from_micros(9).bits(),
                }),
                ..behind(2)
            };
            let (told, _) = log.told(&wanted).unwrap();
            let told_of: Vec<_> = told.events.iter().map(|event| event.sequence).collect();
            assert_eq!((told_of, told.gap), (numbers, Some(gap)));
            let stamp = Hlc::from_micros(5).bits();
            assert_eq!(told.until, Point { number: 6, stamp });
        }
    }

    #[test]
    fn what_is_told_at_once_is_bounded_and_what_is_too_long_is_missing() {
        let disk = Disk::new();
        let slot = disk.create(1);
        let bench = Bench::new(disk);
        let deep = "[".repeat(121) + &"]".repeat(121);
        bench.tell(
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
            assert_eq!((told.until.number, told.more), (after + 1, !is_last));
        }
        // It is short enough, and nobody could read it.
        assert_eq!(told(&bench, &behind(0)), (vec![1, 2, 3], 0, 3, true));
        let last = bench.shard.told_here(shard(0), &behind(3)).unwrap();
        assert_eq!((last.gap, last.more), (Some((4, 4)), false));
    }
}
