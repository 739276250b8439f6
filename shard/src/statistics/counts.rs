//! What is counted of calls: by method, since ever; and what of that a live context has in memory.
//! When it is counted, and where it is kept, is in `mod.rs`.

use std::cell::{Cell, RefCell};
use std::mem;
use std::sync::Arc;

use crate::statistics::times::Times;
use crate::stats::ShardStats;

/// Rows in a shard's memory, at most: 64 MiB of them. What belongs to one more is not counted.
const ROWS_MAX: u64 = 1 << 17;

/// How calls fail, as far as statistics tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The application said no.
    Application,
    /// The guest trapped, or did what it must not.
    Trap,
    /// The guest, or what it wrote, has reached a limit: of fuel, memory, time, size.
    Limit,
    /// Nothing has run, or not to its end: a queue was full, the caller was wrong, an operator has
    /// stopped it.
    Refused,
    /// The machine's fault or ours: disk, damage, what was lost with others.
    Server,
}

impl FailureKind {
    /// All of them; each is at the place of its number.
    pub const ALL: [FailureKind; 5] = [
        FailureKind::Application,
        FailureKind::Trap,
        FailureKind::Limit,
        FailureKind::Refused,
        FailureKind::Server,
    ];
}

/// What calls of one method, or of several, have come to. Counts only grow; times are in
/// microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MethodStatistics {
    /// Calls that were answered, be it with an error.
    pub calls: u64,
    /// Those that failed, by the number of their [`FailureKind`].
    pub failures: [u64; FailureKind::ALL.len()],
    /// Fuel that turns have spent in this context. What other contexts have spent for
    /// their answers is theirs.
    pub fuel: u64,
    /// The most that one turn has spent.
    pub fuel_max: u64,
    /// Bytes of arguments.
    pub bytes_in: u64,
    /// Bytes of outputs.
    pub bytes_out: u64,
    /// Time from arrival at the shard to the answer, which is durable. Calls that were refused have
    /// none.
    pub micros: u64,
    /// What of that was spent in the queue before a turn.
    pub waited_micros: u64,
    /// The same times by how long they were.
    pub times: Times,
}

impl MethodStatistics {
    /// All calls that failed.
    pub fn failed(&self) -> u64 {
        self.failures
            .iter()
            .fold(0, |sum: u64, count| sum.saturating_add(*count))
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: &MethodStatistics) {
        for (mine, others) in self.failures.iter_mut().zip(other.failures) {
            *mine = mine.saturating_add(others);
        }
        for (mine, others) in [
            (&mut self.calls, other.calls),
            (&mut self.fuel, other.fuel),
            (&mut self.bytes_in, other.bytes_in),
            (&mut self.bytes_out, other.bytes_out),
            (&mut self.micros, other.micros),
            (&mut self.waited_micros, other.waited_micros),
        ] {
            *mine = mine.saturating_add(others);
        }
        self.fuel_max = self.fuel_max.max(other.fuel_max);
        self.times.add(&other.times);
    }
}

/// A few of these figures, of all methods of a context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Calls that were answered.
    pub calls: u64,
    /// Those that failed.
    pub failures: u64,
    /// Fuel spent.
    pub fuel: u64,
    /// Time that the calls took.
    pub micros: u64,
}

impl Sums {
    pub(super) fn of(statistics: &MethodStatistics) -> Sums {
        Sums {
            calls: statistics.calls,
            failures: statistics.failed(),
            fuel: statistics.fuel,
            micros: statistics.micros,
        }
    }

    /// Adds another.
    pub fn add(&mut self, other: Sums) {
        self.calls = self.calls.saturating_add(other.calls);
        self.failures = self.failures.saturating_add(other.failures);
        self.fuel = self.fuel.saturating_add(other.fuel);
        self.micros = self.micros.saturating_add(other.micros);
    }
}

/// Whose figures a row of a context's has: a method's by its place in the description, behind these
/// the handlers', then those of methods that the application does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    place: u16,
    /// The context's number of upgrades when this was its place.
    upgrades: u32,
}

impl Row {
    /// Of what is not counted: an `init`, whose context nobody knows yet, and hooks.
    pub(crate) const NONE: Row = Row {
        place: u16::MAX,
        upgrades: 0,
    };

    /// Of a method, by its place in the description of what a context runs after so many upgrades.
    pub(crate) fn of_method(place: usize, upgrades: u32) -> Row {
        Row {
            place: u16::try_from(place).unwrap_or(u16::MAX),
            upgrades,
        }
    }

    fn is_older_than(self, other: Row) -> bool {
        // The number may wrap, and counts upgrades that have failed as well.
        self.upgrades.wrapping_sub(other.upgrades) > u32::MAX / 2
    }

    /// Of handlers, of an application with so many methods.
    pub(crate) fn of_handlers(methods: usize, upgrades: u32) -> Row {
        Row::of_method(methods, upgrades)
    }

    /// Of methods that an application with so many does not have.
    pub(crate) fn of_unknown(methods: usize, upgrades: u32) -> Row {
        Row::of_method(methods + 1, upgrades)
    }
}

/// What a live context has counted since its figures were kept last.
#[derive(Default)]
pub(crate) struct Counts {
    counted: RefCell<Option<Box<Counted>>>,
    /// The row of unknown methods, and after how many upgrades it is that; none if there were none.
    upgraded: Cell<Option<Row>>,
}

struct Counted {
    // Of which one gauge tells how many rows all contexts have.
    stats: Arc<ShardStats>,
    // By row; none of those that were not called in this interval or the one before.
    rows: Vec<Option<Box<MethodStatistics>>>,
    // Of the last whole interval.
    recent: Sums,
    // Since the context came into memory, without `rows`.
    before: Sums,
    is_new: bool,
}

/// What became of what was to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Booked {
    /// It is the first since the figures were kept.
    First,
    /// It is not.
    More,
    /// It is not counted, as it needs a row and there are [`ROWS_MAX`].
    NoRoom,
}

impl Counts {
    /// Counts something.
    pub(super) fn book(
        &self,
        row: Row,
        stats: &Arc<ShardStats>,
        book: impl FnOnce(&mut MethodStatistics),
    ) -> Booked {
        let row = match self.upgraded.get() {
            // What ends on the code before has no other place any more.
            Some(unknown) if row.is_older_than(unknown) => unknown,
            _ => row,
        };
        let mut counted = self.counted.borrow_mut();
        let counted = counted.get_or_insert_with(|| Box::new(Counted::new(stats)));
        let Some(row) = counted.row(usize::from(row.place)) else {
            return Booked::NoRoom;
        };
        book(row);
        match mem::replace(&mut counted.is_new, true) {
            true => Booked::More,
            false => Booked::First,
        }
    }

    /// Shows each row with something in it.
    pub(super) fn each(&self, mut show: impl FnMut(usize, &MethodStatistics)) {
        if let Some(counted) = &*self.counted.borrow() {
            let rows = counted.rows.iter().enumerate();
            let rows = rows.filter_map(|(place, row)| Some((place, row.as_deref()?)));
            rows.for_each(|(place, row)| show(place, row));
        }
    }

    pub(super) fn has_new(&self) -> bool {
        self.counted
            .borrow()
            .as_ref()
            .is_some_and(|counted| counted.is_new)
    }

    /// The context runs another application from now on, with so many methods, after so many
    /// upgrades: what was counted of a place goes to the one that `moved` gives, or to the unknown.
    pub(crate) fn upgrade(
        &self,
        methods: usize,
        upgrades: u32,
        moved: impl Fn(usize) -> Option<usize>,
    ) {
        let unknown = Row::of_unknown(methods, upgrades);
        self.upgraded.set(Some(unknown));
        let mut counted = self.counted.borrow_mut();
        let Some(counted) = counted.as_deref_mut() else {
            return;
        };
        for (place, row) in mem::take(&mut counted.rows).into_iter().enumerate() {
            let Some(row) = row else { continue };
            // Given back, and taken again if that is another one.
            counted.stats.statistics_rows.down();
            let place = moved(place).unwrap_or(unknown.place.into());
            if let Some(there) = counted.row(place) {
                there.add(&row);
            }
        }
    }

    /// Begins anew, now that what was new is among what is kept.
    pub(super) fn begin_interval(&self) {
        let mut counted = self.counted.borrow_mut();
        let Some(counted) = counted.as_deref_mut() else {
            return;
        };
        counted.recent = counted.fresh();
        counted.before.add(counted.recent);
        counted.is_new = false;
        let mut is_idle = true;
        for row in &mut counted.rows {
            match row {
                // It will most likely be called again.
                Some(counts) if **counts != MethodStatistics::default() => {
                    **counts = MethodStatistics::default();
                    is_idle = false;
                }
                Some(_) => {
                    *row = None;
                    counted.stats.statistics_rows.down();
                }
                None => {}
            }
        }
        if is_idle {
            counted.rows = Vec::new();
        }
    }

    /// In this interval and the whole one before it.
    pub(super) fn recent(&self) -> Sums {
        self.sums(|counted| counted.recent)
    }

    /// Since the context came into memory.
    pub(super) fn in_memory(&self) -> Sums {
        self.sums(|counted| counted.before)
    }

    fn sums(&self, before: impl Fn(&Counted) -> Sums) -> Sums {
        let counted = self.counted.borrow();
        counted.as_ref().map_or(Sums::default(), |counted| {
            let mut sums = before(counted);
            sums.add(counted.fresh());
            sums
        })
    }
}

impl Counted {
    fn new(stats: &Arc<ShardStats>) -> Counted {
        Counted {
            stats: Arc::clone(stats),
            rows: Vec::new(),
            recent: Sums::default(),
            before: Sums::default(),
            is_new: false,
        }
    }

    /// None if there is no room for it.
    fn row(&mut self, place: usize) -> Option<&mut MethodStatistics> {
        if self.rows.get(place).is_none_or(Option::is_none) {
            if self.stats.statistics_rows.get() >= ROWS_MAX {
                return None;
            }
            if self.rows.len() <= place {
                self.rows.resize_with(place + 1, Default::default);
            }
            self.stats.statistics_rows.up();
        }
        Some(self.rows[place].get_or_insert_default())
    }

    fn fresh(&self) -> Sums {
        let mut fresh = Sums::default();
        let rows = self.rows.iter().flatten();
        rows.for_each(|row| fresh.add(Sums::of(row)));
        fresh
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let rows = self.rows.iter().flatten();
        rows.for_each(|_| self.stats.statistics_rows.down());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_has_so_many_rows_and_those_of_who_is_idle_are_given_back() {
        let stats = Arc::new(ShardStats::default());
        let (busy, late) = (Counts::default(), Counts::default());
        let call = |counts: &Counts, place| {
            counts.book(Row::of_method(place, 0), &stats, |row| row.calls += 1)
        };
        let rows = || stats.statistics_rows.get();
        stats.statistics_rows.set(ROWS_MAX - 2);
        assert_eq!(
            [0, 7, 0].map(|n| call(&busy, n)),
            [Booked::First, Booked::More, Booked::More]
        );
        assert_eq!(rows(), ROWS_MAX);
        assert_eq!(call(&late, 0), Booked::NoRoom);
        assert_eq!(call(&busy, 1), Booked::NoRoom);
        assert_eq!(call(&busy, 7), Booked::More, "it has a row");
        assert_eq!((busy.recent().calls, late.recent().calls), (4, 0));
        busy.begin_interval();
        assert_eq!(call(&busy, 0), Booked::First);
        busy.begin_interval();
        assert_eq!(rows(), ROWS_MAX - 1);
        assert_eq!(call(&late, 0), Booked::First);
        drop(busy);
        assert_eq!(rows(), ROWS_MAX - 1);
        drop(late);
        assert_eq!(rows(), ROWS_MAX - 2);
    }

    #[test]
    fn an_upgrade_takes_figures_to_where_methods_of_these_names_are() {
        let (counts, stats) = (Counts::default(), Arc::default());
        let call = |row| counts.book(row, &stats, |row| row.calls += 1);
        let calls = || {
            let mut calls = Vec::new();
            counts.each(|place, row| calls.push((place, row.calls)));
            calls
        };
        // Three methods before: the first is gone, the second and handlers move.
        for place in [0, 1, 1, 3, 4] {
            call(Row::of_method(place, 0));
        }
        assert_eq!(calls(), [(0, 1), (1, 2), (3, 1), (4, 1)]);
        counts.upgrade(1, 1, |place| match place {
            1 => Some(0),
            3 => Some(1),
            _ => None,
        });
        assert_eq!(calls(), [(0, 2), (1, 1), (2, 2)]);
        call(Row::of_method(0, 2));
        // One that has begun before.
        call(Row::of_method(0, 0));
        assert_eq!(calls(), [(0, 3), (1, 1), (2, 3)]);
        assert_eq!(stats.statistics_rows.get(), 3);
        assert_eq!(counts.recent().calls, 7);
    }

    #[test]
    fn what_is_recent_is_of_this_interval_and_the_one_before() {
        let counts = Counts::default();
        let stats = Arc::default();
        let call = |fuel| {
            let booked = counts.book(Row::of_method(2, 0), &stats, |row| {
                row.calls += 1;
                row.fuel += fuel;
            });
            booked == Booked::First
        };
        let fuel = || (counts.recent().fuel, counts.in_memory().fuel);
        assert_eq!(fuel(), (0, 0));
        assert!(call(1), "it is the first");
        assert!(!call(2));
        assert_eq!(fuel(), (3, 3));
        counts.begin_interval();
        assert!(!counts.has_new());
        assert!(call(10));
        assert_eq!(fuel(), (13, 13));
        counts.begin_interval();
        assert_eq!(fuel(), (10, 13));
        counts.begin_interval();
        assert_eq!(fuel(), (0, 13));
        let mut rows = 0;
        counts.each(|_, _| rows += 1);
        assert_eq!(rows, 0, "who is not called has no memory for it");
    }
}
