//! Statistics of contexts, by method: what is counted when a turn spends and a call is answered,
//! and how that is kept.
//!
//! A live context has in memory what is new (`counts.rs`). Every [`KEEP_EVERY`], and when the
//! context leaves memory, that is added to what is kept in its agenda (`stored.rs`) by notes: they
//! are in no journal and no call waits for them. What was noted becomes durable with the next checkpoint,
//! and until the shard's snapshot shows it, it is in [`Statistics::totals`]. Which contexts are
//! the busiest is in `busiest.rs`. Owned by the shard.

mod busiest;
mod counts;
mod stored;
#[cfg(test)]
mod tests;
mod times;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use corelet_store::{Change, ContextId, ContextSlot, EntryValue, Note, Refused, Space, StoreError};
use corelet_wasm_host::{Failure, Module};

pub use self::busiest::{Busiest, BusyContext, BusyQuestion, RankedBy, RankedOver};
use self::counts::Booked;
pub(crate) use self::counts::{Counts, Row};
pub use self::counts::{FailureKind, MethodStatistics, Sums};
pub use self::stored::MethodRow;
use self::stored::Rows;
pub use self::times::{TIME_BUCKETS, Times};
use crate::answer::Answer;
use crate::commit_stage::Receipt;
use crate::context::Context;
use crate::error::CallError;
use crate::notes;
use crate::rt;
use crate::shard::Shard;

/// How often what is new is kept. With that it is not durable yet: see [`DURABLE_WITHIN`].
pub(crate) const KEEP_EVERY: Duration = Duration::from_secs(10);

/// If no checkpoint was made for so long after something was kept, one is made for it. So a crash
/// takes with it what was counted in this time and [`KEEP_EVERY`] before it, at most.
const DURABLE_WITHIN: Duration = Duration::from_secs(60);

/// Contexts that have left memory and of which no snapshot shows what was kept, at most. Of one
/// more, what is new is lost.
const GONE_MAX: usize = 8_192;

/// Notes that are on their way at the same time, and contexts looked at between two breaths.
const AT_ONCE: usize = 32;

/// A context's statistics: what is kept and what is new.
#[derive(Clone, Debug)]
pub struct ContextStatistics {
    /// The context.
    pub id: ContextId,
    /// By method, as the description orders them.
    pub rows: Vec<(MethodRow, MethodStatistics)>,
}

/// How a call has ended that is counted.
pub(crate) struct Ended<'e> {
    pub(crate) bytes_in: usize,
    pub(crate) took: Duration,
    /// Bytes of its output, or why there is none.
    pub(crate) outcome: Result<usize, &'e CallError>,
}

/// What a shard has of statistics beside those that its live contexts have.
pub(crate) struct Statistics {
    /// Contexts with something new.
    new: RefCell<Vec<ContextId>>,
    /// Those of the interval before.
    before: RefCell<Vec<ContextId>>,
    /// What is kept and no snapshot shows.
    totals: RefCell<HashMap<ContextId, Total>>,
    /// When this interval began, and how long the one before was.
    interval: Cell<(Instant, Duration)>,
}

/// All that a context has counted, until it was kept last.
struct Total {
    slot: ContextSlot,
    value: Bytes,
    /// The number of its note's change; none if it has to be sent.
    sent: Option<u64>,
    /// Since when something of it is not durable.
    since: Instant,
}

impl Statistics {
    pub(crate) fn new() -> Statistics {
        Statistics {
            new: RefCell::default(),
            before: RefCell::default(),
            totals: RefCell::default(),
            interval: Cell::new((Instant::now(), Duration::ZERO)),
        }
    }

    /// How long what is recent has taken: this interval and the one before.
    fn recent(&self) -> Duration {
        let (began, before) = self.interval.get();
        began.elapsed() + before
    }

    /// Forgets a context that does not exist any more.
    pub(crate) fn forget(&self, id: ContextId) {
        self.totals.borrow_mut().remove(&id);
    }
}

impl Shard {
    /// Counts fuel that a turn has spent.
    pub(crate) fn count_fuel(&self, context: &Context, row: Row, fuel: u64) {
        self.book(context, row, |counts| counts.fuel += fuel);
    }

    /// Counts the end of a turn, which has spent so much in all.
    pub(crate) fn count_turn(&self, context: &Context, row: Row, last: u64, all: u64) {
        self.book(context, row, |counts| {
            counts.fuel += last;
            counts.fuel_max = counts.fuel_max.max(all);
        });
    }

    /// Counts how long a call has waited for its turn.
    pub(crate) fn count_waited(&self, context: &Context, row: Row, waited: Duration) {
        let micros = micros(waited);
        self.book(context, row, |counts| counts.waited_micros += micros);
    }

    /// Counts a call that was answered.
    pub(crate) fn count_call(&self, context: &Context, row: Row, ended: Ended<'_>) {
        let took = micros(ended.took);
        self.book(context, row, |counts| {
            counts.calls += 1;
            counts.bytes_in += ended.bytes_in as u64;
            match ended.outcome {
                Ok(bytes) => counts.bytes_out += bytes as u64,
                Err(error) => {
                    let kind = kind_of(error);
                    counts.failures[kind as usize] += 1;
                    if kind == FailureKind::Refused {
                        // It tells nothing of how long calls take that are served.
                        return;
                    }
                }
            }
            counts.micros += took;
            counts.times.count(took);
        });
    }

    fn book(&self, context: &Context, row: Row, book: impl FnOnce(&mut MethodStatistics)) {
        if row == Row::NONE {
            return;
        }
        match context.counts.book(row, &self.stats, book) {
            Booked::More => {}
            Booked::First => self.statistics.new.borrow_mut().push(context.id),
            Booked::NoRoom => self.stats.statistics_lost.one(),
        }
    }

    /// The statistics of one context.
    pub(crate) fn statistics_here(
        self: &Rc<Self>,
        id: ContextId,
    ) -> Result<ContextStatistics, CallError> {
        self.check_service(id)?;
        let end = self.read_statistics(id);
        self.quarantine_if_damaged(id, &end);
        end
    }

    fn read_statistics(&self, id: ContextId) -> Result<ContextStatistics, CallError> {
        let record = self.snapshots.latest().context(&id)?;
        let record = record.ok_or_else(|| CallError::ContextNotFound {
            context: id.to_string(),
        })?;
        let live = self.contexts.borrow().peek(&id).map(Rc::clone);
        let mut rows = self.kept_statistics(id, record.slot)?;
        if let Some(context) = live {
            add_new(&mut rows, &context);
        }
        Ok(ContextStatistics { id, rows })
    }

    /// What is kept of a context. What is of a form that is unknown here begins anew.
    fn kept_statistics(&self, id: ContextId, slot: ContextSlot) -> Result<Rows, StoreError> {
        if let Some(total) = self.statistics.totals.borrow().get(&id) {
            return Ok(stored::read(&total.value).unwrap_or_default());
        }
        let snapshot = self.snapshots.latest();
        Ok(
            match snapshot.get(slot, Space::Agenda, notes::STATISTICS)? {
                Some(EntryValue::Register(value)) => stored::read(value).unwrap_or_default(),
                Some(_) | None => Rows::default(),
            },
        )
    }

    /// Adds what is new of a context to what is to be kept.
    fn add_up(&self, context: &Context) -> Result<(), StoreError> {
        if !context.counts.has_new() {
            return Ok(());
        }
        self.forget_if_kept(context.id);
        let mut rows = self.kept_statistics(context.id, context.slot)?;
        add_new(&mut rows, context);
        context.counts.begin_interval();
        let value = Bytes::from(stored::write(&rows));
        let mut totals = self.statistics.totals.borrow_mut();
        let total = totals.entry(context.id).or_insert_with(|| Total {
            slot: context.slot,
            value: Bytes::new(),
            sent: None,
            since: Instant::now(),
        });
        (total.value, total.sent) = (value, None);
        Ok(())
    }

    /// Forgets what is kept of a context if a snapshot shows it. That its note was told to be written
    /// does not suffice: whatever fails behind it before a checkpoint takes it along.
    fn forget_if_kept(&self, id: ContextId) {
        let mut totals = self.statistics.totals.borrow_mut();
        let Some(total) = totals.get_mut(&id) else {
            return;
        };
        if !total.sent.is_some_and(|sent| self.commits.is_shown(sent)) {
            return;
        }
        let snapshot = self.snapshots.latest();
        match snapshot.get(total.slot, Space::Agenda, notes::STATISTICS) {
            Ok(Some(EntryValue::Register(value))) if *value == total.value[..] => {
                totals.remove(&id);
            }
            // It is sent again; if the reason is damage, that refuses it.
            Ok(_) | Err(_) => total.sent = None,
        }
    }

    async fn forget_kept(&self) {
        let sent: Vec<ContextId> = {
            let totals = self.statistics.totals.borrow();
            let sent = totals.iter().filter(|(_, total)| total.sent.is_some());
            sent.map(|(id, _)| *id).collect()
        };
        for some in sent.chunks(AT_ONCE) {
            some.iter().for_each(|id| self.forget_if_kept(*id));
            rt::breathe().await;
        }
        let mut totals = self.statistics.totals.borrow_mut();
        if totals.is_empty() {
            // After a time in which many came and went.
            totals.shrink_to(GONE_MAX / 8);
        }
    }

    /// Takes over what is new of a context that leaves memory.
    pub(crate) fn add_up_gone(&self, context: &Context) {
        if !context.counts.has_new() {
            return;
        }
        let has_room = self.statistics.totals.borrow().len() < self.totals_max();
        // Damage is met again by whoever calls it next.
        if !has_room || self.add_up(context).is_err() {
            self.stats.statistics_lost.one();
        }
    }

    /// Keeps what is new, again and again.
    pub(crate) async fn keep_statistics(self: Rc<Self>) {
        loop {
            for _ in 0..KEEP_EVERY.as_secs() {
                rt::sleep(Duration::from_secs(1)).await;
                if self.statistics.totals.borrow().len() > self.totals_max() / 4 {
                    self.send_totals().await;
                }
            }
            self.keep_new_statistics().await;
        }
    }

    /// Contexts of which there may be something to keep that no snapshot shows.
    fn totals_max(&self) -> usize {
        self.bounds.live_contexts_max.saturating_add(GONE_MAX)
    }

    /// Keeps what is new now.
    pub(crate) async fn keep_new_statistics(self: &Rc<Self>) {
        let statistics = &self.statistics;
        let (began, _) = statistics.interval.get();
        statistics.interval.set((Instant::now(), began.elapsed()));
        let new = statistics.new.take();
        let before = statistics.before.replace(new.clone());
        for some in before.chunks(AT_ONCE) {
            let idle = some.iter().filter_map(|id| self.peek(*id));
            let idle = idle.filter(|context| !context.counts.has_new());
            idle.for_each(|context| context.counts.begin_interval());
            rt::breathe().await;
        }
        for some in new.chunks(AT_ONCE) {
            for id in some {
                let Some(context) = self.peek(*id) else {
                    continue;
                };
                let added = self.add_up(&context).map_err(CallError::from);
                self.quarantine_if_damaged(*id, &added);
                if added.is_err() {
                    // It is tried again, if the context is still in service.
                    statistics.new.borrow_mut().push(*id);
                }
            }
            rt::breathe().await;
        }
        self.send_totals().await;
    }

    fn peek(&self, id: ContextId) -> Option<Rc<Context>> {
        self.contexts.borrow().peek(&id).map(Rc::clone)
    }

    /// Sends what is to be kept to the disk, a few at a time.
    async fn send_totals(&self) {
        self.forget_kept().await;
        let (unsent, is_urgent) = {
            let totals = self.statistics.totals.borrow();
            let unsent = totals.iter().filter(|(_, total)| total.sent.is_none());
            let unsent: Vec<ContextId> = unsent.map(|(id, _)| *id).collect();
            let mut since = totals.values().map(|total| total.since);
            let is_late = since.any(|since| since.elapsed() >= DURABLE_WITHIN);
            (unsent, is_late || totals.len() > self.totals_max() / 2)
        };
        let mut is_awaited = is_urgent;
        for some in unsent.chunks(AT_ONCE) {
            let mut sent = Vec::with_capacity(some.len());
            for id in some {
                match self.send_total(*id, is_awaited) {
                    Ok(None) => {}
                    Ok(Some((number, receipt))) => {
                        is_awaited = false;
                        sent.push((*id, number, receipt));
                    }
                    // The queue is full: calls go first, and this is tried again.
                    Err(_) => return,
                }
            }
            for (id, number, receipt) in sent {
                let end = receipt.await;
                self.take_receipt(id, number, end);
            }
        }
    }

    fn send_total(
        &self,
        context: ContextId,
        is_awaited: bool,
    ) -> Result<Option<(u64, Answer<Receipt>)>, CallError> {
        let mut totals = self.statistics.totals.borrow_mut();
        let Some(total) = totals.get_mut(&context) else {
            return Ok(None);
        };
        let change = Change::PutNote(Note {
            context,
            author: self.author,
            hlc: self.clock.tick(),
            key: Bytes::from_static(notes::STATISTICS),
            value: Some(total.value.clone()),
            is_awaited,
        });
        let (number, bytes) = (self.commits.next_number(), change.bytes());
        let receipt = self.commits.submit(change, bytes, None)?;
        total.sent = Some(number);
        self.stats.statistics_kept.one();
        Ok(Some((number, receipt)))
    }

    /// Takes in what has become of a note: it is sent again if that may help.
    fn take_receipt(&self, id: ContextId, number: u64, end: Option<Receipt>) {
        let (is_of_use, is_gone) = match &end {
            Some(Ok(_)) => return,
            Some(Err(CallError::Uncommitted(refused))) => (
                matches!(**refused, Refused::DiskFull),
                matches!(**refused, Refused::UnknownContext { .. }),
            ),
            Some(Err(_)) | None => (true, false),
        };
        let mut totals = self.statistics.totals.borrow_mut();
        let is_newest = |total: &Total| total.sent == Some(number);
        match is_of_use {
            true => {
                if let Some(total) = totals.get_mut(&id).filter(|total| is_newest(total)) {
                    total.sent = None;
                }
            }
            // It is gone, or out of service.
            false => {
                if totals.remove(&id).is_some() && !is_gone {
                    self.stats.statistics_lost.one();
                }
            }
        }
    }
}

/// Adds what is new of a context to rows of it.
fn add_new(rows: &mut Rows, context: &Context) {
    context.counts.each(|place, counts| {
        if *counts == MethodStatistics::default() {
            return;
        }
        let whose = whose(&context.code().module, place);
        match rows.binary_search_by(|(other, _)| other.cmp(&whose)) {
            Ok(at) => rows[at].1.add(counts),
            Err(at) => rows.insert(at, (whose, counts.clone())),
        }
    });
}

/// Whose figures are at a place.
fn whose(module: &Module, place: usize) -> MethodRow {
    let methods = module.description().methods();
    match methods.get(place) {
        Some(method) => MethodRow::Method(method.name.to_string()),
        None if place == methods.len() => MethodRow::Handlers,
        None => MethodRow::Unknown,
    }
}

/// What kind of failure an error is.
fn kind_of(error: &CallError) -> FailureKind {
    match error {
        CallError::Guest { failure, .. } => match &**failure {
            Failure::Application { .. } => FailureKind::Application,
            Failure::OutOfFuel { .. }
            | Failure::OutOfMemory { .. }
            | Failure::TimedOut { .. }
            | Failure::StackOverflow { .. }
            | Failure::LimitExceeded { .. } => FailureKind::Limit,
            Failure::Trapped { .. }
            | Failure::WroteInQuery
            | Failure::AskedInUpdate
            | Failure::OutsideTurn { .. }
            | Failure::InvalidOutput { .. }
            | Failure::Misused { .. } => FailureKind::Trap,
            Failure::MemoryFull { .. } | Failure::Busy { .. } | Failure::Cancelled => {
                FailureKind::Refused
            }
            Failure::State(_) | Failure::OurBug { .. } => FailureKind::Server,
        },
        CallError::Uncommitted(refused) => match **refused {
            Refused::DiskFull
            | Refused::BehindRefused { .. }
            | Refused::Overtaken { .. }
            | Refused::StaleHlc { .. }
            | Refused::UnknownContext { .. }
            | Refused::Quarantined { .. }
            | Refused::Damaged { .. } => FailureKind::Server,
            _ => FailureKind::Limit,
        },
        CallError::MethodNotFound { .. }
        | CallError::KeyOnQuery { .. }
        | CallError::KeyReused
        | CallError::Busy { .. }
        | CallError::ContextNotFound { .. }
        | CallError::Draining => FailureKind::Refused,
        _ => FailureKind::Server,
    }
}

pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
