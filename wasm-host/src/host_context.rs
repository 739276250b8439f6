//! What a guest's store holds while it runs: the turn's facts, its effects so
//! far, what it has used up, and why it was stopped.
//!
//! Owned by one instance on one core. Host functions (`functions/`) come in
//! through [`enter`], which charges, counts and ends slices; the rules of
//! single functions are not here.

use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use async_trait::async_trait;
use wasmtime::{AsContext, ResourceLimiterAsync, StoreContext, StoreContextMut};

use crate::costs::HostCost;
use crate::failure::{Failure, engine_bug, is_the_guests};
use crate::guest_calls::{Answered, Line};
use crate::guest_state::GuestState;
use crate::host::Shared;
use crate::limits::Limits;
use crate::shape::WASM_PAGE_BYTES;
use crate::stable::StableMemory;
use crate::stats::count;
use crate::turn::{GuestEvent, GuestLog, Reads};

/// How host functions see the store.
pub(crate) type Cx<'a> = StoreContextMut<'a, HostContext>;

/// What the instance is doing, which decides what its host calls may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Being instantiated: start functions run.
    Starting,
    /// Answering `describe`.
    Describing,
    /// Between turns.
    Idle,
    /// Running a query.
    Query,
    /// Running `init` or an update.
    Update,
}

/// What a turn is told. Replaced as a whole for each turn.
pub(crate) struct Facts {
    pub(crate) context: [u8; 32],
    pub(crate) caller: Arc<str>,
    pub(crate) author: [u8; 32],
    pub(crate) now_nanos: u64,
    pub(crate) seed: [u8; 32],
    pub(crate) state_version: u64,
    pub(crate) fuel_max: u64,
    /// The name of the limit that `fuel_max` is.
    pub(crate) fuel_limit: &'static str,
    /// What it may write.
    pub(crate) writes: WriteBounds,
}

/// A limit: its name, and its value.
pub(crate) type Bound = (&'static str, u64);

/// What a turn may write.
#[derive(Clone, Copy)]
pub(crate) struct WriteBounds {
    pub(crate) writes: Bound,
    pub(crate) edits: Bound,
    pub(crate) bytes: Bound,
}

impl WriteBounds {
    /// Of a call.
    pub(crate) fn of_call(limits: &Limits) -> WriteBounds {
        WriteBounds {
            writes: ("writes_max", limits.writes_max),
            edits: ("edits_max", limits.edits_max),
            bytes: ("write_bytes_max", limits.write_bytes_max),
        }
    }

    /// Of a hook of an upgrade.
    pub(crate) fn of_upgrade(limits: &Limits) -> WriteBounds {
        let writes = ("upgrade_writes_max", limits.upgrade_writes_max);
        WriteBounds {
            writes,
            edits: writes,
            bytes: ("upgrade_write_bytes_max", limits.upgrade_write_bytes_max),
        }
    }
}

impl Facts {
    pub(crate) fn out_of_fuel(&self) -> Failure {
        Failure::OutOfFuel {
            limit: self.fuel_limit,
            max: self.fuel_max,
        }
    }
}

/// What a turn has used so far of its limits.
#[derive(Debug, Default)]
pub(crate) struct Used {
    pub(crate) host_calls: u64,
    pub(crate) writes: u64,
    pub(crate) edits: u64,
    /// Calls that were sent to other contexts.
    pub(crate) sends: u64,
    /// Lengths of blobs that were detached beside one for each write.
    pub(crate) lengths: u64,
    pub(crate) write_bytes: u64,
    pub(crate) event_bytes: u64,
    pub(crate) log_bytes: u64,
    pub(crate) random_bytes: u64,
    pub(crate) reads: Reads,
}

/// How far a turn has come, readable while it is parked.
pub(crate) struct Progress {
    /// Here, because a turn in progress needs both and one count is cheaper
    /// than two; this one is of the instance's own, so no other core has it.
    pub(crate) shared: Arc<Shared>,
    /// Slices that have ended; counted by `Running`.
    pub(crate) slices: AtomicU64,
    /// Those of them that the host has ended: in one of its functions, or while memory grew.
    pub(crate) host_slices: AtomicU64,
    /// Fuel used, as of the last host call or the turn's beginning.
    pub(crate) fuel_used: AtomicU64,
    /// Slices that the engine had ended then.
    slices_paid: AtomicU64,
    /// What a turn had logged that was dropped before its end.
    pub(crate) logs_left: OnceLock<Vec<GuestLog>>,
}

impl Progress {
    fn new(shared: Arc<Shared>) -> Arc<Progress> {
        Arc::new(Progress {
            shared,
            slices: AtomicU64::new(0),
            host_slices: AtomicU64::new(0),
            fuel_used: AtomicU64::new(0),
            slices_paid: AtomicU64::new(0),
            logs_left: OnceLock::new(),
        })
    }

    /// Slices that the engine has ended, each after just as much fuel.
    fn engine_slices(&self) -> u64 {
        let all = self.slices.load(Ordering::Relaxed);
        all.saturating_sub(self.host_slices.load(Ordering::Relaxed))
    }

    /// Notes what was used until now.
    fn pay(&self, fuel_used: u64) {
        self.fuel_used.store(fuel_used, Ordering::Relaxed);
        let slices = self.engine_slices();
        self.slices_paid.store(slices, Ordering::Relaxed);
    }

    /// Slices that the engine has ended since.
    pub(crate) fn slices_unpaid(&self) -> u64 {
        self.engine_slices() - self.slices_paid.load(Ordering::Relaxed)
    }
}

/// The data of a guest's `wasmtime::Store`.
pub(crate) struct HostContext {
    pub(crate) limits: Arc<Limits>,
    pub(crate) phase: Phase,
    pub(crate) facts: Facts,
    pub(crate) used: Used,
    pub(crate) events: Vec<GuestEvent>,
    pub(crate) logs: Vec<GuestLog>,
    pub(crate) progress: Arc<Progress>,
    /// Why the guest was stopped. The first reason stays.
    failure: Option<Failure>,
    /// What all linear memories of the store have grown to.
    memory_bytes: u64,
    /// What that was when the guest was last told that little is left to it.
    memory_told: u64,
    /// See [`crate::HostConfig::instances_bytes_max`].
    all_bytes_max: u64,
    /// A size of memory that the guest's own module forbids, if it asked.
    memory_refused_at: Option<u64>,
    /// None between turns.
    state: Option<StaysHere<Box<dyn GuestState>>>,
    /// The stable memory, once the turn has come to it.
    pub(crate) stable: Option<Box<StableMemory>>,
    /// To whoever runs the turn, which has the other half.
    line: StaysHere<Rc<Line>>,
    /// Fuel that it had used then.
    fuel_before: u64,
    /// Whether the engine has lost count: it counts in registers, and a trap that the
    /// processor raises, or a growth that is refused, leaves what it has not saved since the slice
    /// began.
    pub(crate) has_lost_count: bool,
    /// Which slice `slice_fuel_left_at_start` is about.
    slice: u64,
    slice_fuel_left_at_start: u64,
    /// Work that has no price, and the slice in which it was done.
    unpriced: Unpriced,
}

/// What it takes the system to bring in a page of a memory when it is touched, in units of fuel:
/// sixteen pages of the machine's at 0.8 us each, where a slice of a million units is half a
/// millisecond. The engine's own price for it, which is one byte wide, cannot say that.
const PAGE_WORK: u64 = 25_000;

/// See [`HostContext::unpriced_left`].
#[derive(Debug, Default, Clone, Copy)]
struct Unpriced {
    slice: u64,
    work: u64,
}

/// A value that the engine may take for `Send`.
struct StaysHere<T>(T);

// SAFETY: a store's data has to be `Send` for the engine, and neither a state
// is nor a line. A store belongs to an `Instance`, and during a turn to a `Running`; neither
// is `Send`, and what has the line's other half is the `Running`. A store that is dropped by
// another thread has been through `leave_thread`, which takes both out of it. So no other
// thread ever sees them. The safe way is to compare thread ids on each access, which was a
// twentieth of a short call.
#[allow(unsafe_code)]
unsafe impl<T> Send for StaysHere<T> {}

impl HostContext {
    pub(crate) fn new(shared: &Arc<Shared>, phase: Phase, all_bytes_max: u64) -> HostContext {
        HostContext {
            limits: Arc::clone(&shared.limits),
            phase,
            facts: Facts {
                context: [0; 32],
                caller: Arc::default(),
                author: [0; 32],
                now_nanos: 0,
                seed: [0; 32],
                state_version: 0,
                fuel_max: 0,
                fuel_limit: "start_fuel_max",
                writes: WriteBounds::of_call(&shared.limits),
            },
            used: Used::default(),
            events: Vec::new(),
            logs: Vec::new(),
            progress: Progress::new(Arc::clone(shared)),
            failure: None,
            memory_bytes: 0,
            memory_told: 0,
            all_bytes_max,
            memory_refused_at: None,
            state: None,
            stable: None,
            line: StaysHere(Rc::default()),
            fuel_before: 0,
            has_lost_count: false,
            slice: 0,
            slice_fuel_left_at_start: 0,
            unpriced: Unpriced::default(),
        }
    }

    /// Prepares for a turn with `fuel` left to it, whose outermost call has caused so many
    /// queries before.
    pub(crate) fn begin(
        &mut self,
        phase: Phase,
        facts: Facts,
        state: Box<dyn GuestState>,
        fuel: u64,
        queries: u64,
    ) {
        debug_assert_eq!(self.phase, Phase::Idle);
        self.phase = phase;
        self.facts = facts;
        self.used = Used::default();
        self.failure = None;
        self.memory_refused_at = None;
        self.state = Some(StaysHere(state));
        self.slice = self.progress.slices.load(Ordering::Relaxed);
        self.progress.pay(0);
        self.fuel_before = self.facts.fuel_max.saturating_sub(fuel);
        self.line.0.begin(queries);
        self.has_lost_count = false;
        self.slice_fuel_left_at_start = fuel;
    }

    /// What the turn has used at most: what was known when a host function was last paid, and the
    /// slices that the engine has ended since, with the one that it is in. Those that host
    /// functions end do not count, as they may end for work without a price, which is not the same
    /// each time; so this is the same whenever the same turn is run.
    pub(crate) fn fuel_to_slice_end(&self) -> u64 {
        let since = self
            .limits
            .slice_fuel
            .saturating_mul(self.progress.slices_unpaid() + 1);
        self.fuel_before.saturating_add(since)
    }

    /// The line to whoever runs the turn.
    pub(crate) fn line(&self) -> &Rc<Line> {
        &self.line.0
    }

    /// Whether the turn's answer is kept for a callback.
    pub(crate) fn keeps_outcome(&self) -> bool {
        let state = self.state.as_ref();
        state.is_some_and(|state| state.0.keeps_outcome())
    }

    /// Ends a turn: gives the state back and detaches from the context. None
    /// if a host function has panicked while it held the state.
    pub(crate) fn end(&mut self) -> Option<Box<dyn GuestState>> {
        self.phase = Phase::Idle;
        self.stable = None;
        self.state.take().map(|state| state.0)
    }

    /// Prepares for being dropped by another thread: nothing is left that must stay here, or that
    /// somebody waits for.
    pub(crate) fn leave_thread(&mut self) {
        self.state = None;
        self.stable = None;
        self.line = StaysHere(Rc::default());
        self.leave_memory();
        self.leave_logs();
        // Whoever runs the turn wants what was logged from the other one, and that nobody else has it.
        self.progress = Progress::new(Arc::clone(&self.progress.shared));
    }

    /// Takes its memory off what all instances have.
    fn leave_memory(&mut self) {
        let live = &self.progress.shared.stats.memory_bytes_live;
        live.fetch_sub(mem::take(&mut self.memory_bytes), Ordering::Relaxed);
    }

    /// Hands what was logged and not told to whoever runs the turn.
    fn leave_logs(&mut self) {
        if !self.logs.is_empty() {
            // Nothing was put there before, as this is done once.
            let _ = self.progress.logs_left.set(mem::take(&mut self.logs));
        }
    }

    /// Why the guest was stopped, if it was one of us who did it.
    pub(crate) fn take_failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Whether the turn has changed the stable memory.
    pub(crate) fn has_stable_changes(&self) -> bool {
        let stable = self.stable.as_ref();
        stable.is_some_and(|memory| memory.is_changed())
    }

    /// Whether they are more than a guest is left in peace with, and more than it knows of.
    pub(crate) fn is_low_on_memory(&self) -> bool {
        let limits = &self.limits;
        let share = limits
            .memory_bytes_max
            .saturating_mul(limits.low_memory_share)
            / 100;
        self.memory_bytes > share.max(self.memory_told)
    }

    /// Notes that the guest is told of it.
    pub(crate) fn tell_of_memory(&mut self) {
        self.memory_told = self.memory_bytes;
    }

    /// Takes so many bytes more of what all instances may have, if they are there.
    fn take_memory(&mut self, bytes: u64) -> wasmtime::Result<()> {
        let max = self.all_bytes_max;
        let live = &self.progress.shared.stats.memory_bytes_live;
        let taken = live.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |live| {
            Some(live + bytes).filter(|sum| *sum <= max)
        });
        match taken {
            Ok(_) => self.memory_bytes += bytes,
            Err(live) => {
                let used = live + bytes;
                return Err(self.stop_growth(Failure::MemoryFull { used, max }));
            }
        }
        Ok(())
    }

    pub(crate) fn memory_refused_at(&self) -> Option<u64> {
        self.memory_refused_at
    }

    /// Records why the guest is stopped; the error makes the engine do it.
    #[cold]
    pub(crate) fn stop(&mut self, failure: Failure) -> wasmtime::Error {
        let error = wasmtime::Error::msg("stopped by the host");
        self.failure.get_or_insert(failure);
        error
    }

    /// As [`stop`](Self::stop), of a guest that asks for more memory or a longer table: the
    /// engine has not saved its count before it asks.
    #[cold]
    fn stop_growth(&mut self, failure: Failure) -> wasmtime::Error {
        self.has_lost_count = true;
        self.stop(failure)
    }

    /// How much work without a price this slice still has room for, in units of
    /// fuel. What depends on the disk must not cost fuel, but takes its time all
    /// the same: at 0 the slice has to end.
    pub(crate) fn unpriced_left(&self) -> u64 {
        let slice = self.progress.slices.load(Ordering::Relaxed);
        let done = match self.unpriced.slice == slice {
            true => self.unpriced.work,
            false => 0,
        };
        self.limits.slice_fuel.saturating_sub(done)
    }

    /// Notes such work.
    pub(crate) fn did_unpriced(&mut self, work: u64) {
        let slice = self.progress.slices.load(Ordering::Relaxed);
        if self.unpriced.slice != slice {
            self.unpriced = Unpriced { slice, work: 0 };
        }
        self.unpriced.work = self.unpriced.work.saturating_add(work);
    }

    /// Notes that so much memory will be touched for the first time, and parks the guest for each
    /// slice's time that this takes. What is started or describes itself is never parked, and has
    /// little fuel.
    async fn page_in(&mut self, bytes: u64) {
        if !matches!(self.phase, Phase::Query | Phase::Update) {
            return;
        }
        let mut work = bytes.div_ceil(WASM_PAGE_BYTES) * PAGE_WORK;
        while work > 0 {
            let now = work.min(self.unpriced_left());
            self.did_unpriced(now);
            work -= now;
            if self.unpriced_left() == 0 {
                count(&self.progress.host_slices);
                SliceEnd { parked: false }.await;
            }
        }
    }

    /// Counts that a limit was reached of which the guest is told, so that it goes on.
    pub(crate) fn count_limit(&self, limit: &'static str) {
        self.progress.shared.stats.count_limit(limit);
    }

    /// Stops the guest if `used` is more than `max`.
    #[inline]
    pub(crate) fn bound(
        &mut self,
        limit: &'static str,
        used: u64,
        max: u64,
    ) -> wasmtime::Result<()> {
        if used > max {
            return Err(self.stop(Failure::LimitExceeded { limit, used, max }));
        }
        Ok(())
    }
}

impl Drop for HostContext {
    fn drop(&mut self) {
        self.leave_memory();
        self.leave_logs();
    }
}

/// The door of every host function: refuses where there is no turn, counts the
/// call, charges `bytes`, and parks the guest if its slice has ended.
#[inline]
pub(crate) async fn enter(
    cx: &mut Cx<'_>,
    cost: &'static HostCost,
    bytes: u64,
) -> wasmtime::Result<()> {
    let data = cx.data_mut();
    if let Some(phase) = match data.phase {
        Phase::Query | Phase::Update => None,
        Phase::Starting => Some("it was being instantiated"),
        Phase::Describing => Some("it described itself"),
        Phase::Idle => Some("no call was running"),
    } {
        return Err(data.stop(Failure::OutsideTurn {
            function: cost.function,
            phase,
        }));
    }
    count_call(data)?;
    if charge(cx, cost.of_bytes(bytes))? {
        slice_end(cx).await;
    }
    Ok(())
}

/// Counts a host call against `host_calls_max`.
#[inline]
pub(crate) fn count_call(data: &mut HostContext) -> wasmtime::Result<()> {
    data.used.host_calls += 1;
    let (used, max) = (data.used.host_calls, data.limits.host_calls_max);
    data.bound("host_calls_max", used, max)
}

/// Takes `fuel` from the guest; tells whether its slice has ended.
///
/// Setting a store's fuel gives the guest a whole slice again, so the engine
/// alone would never park a guest that calls the host often enough. We keep
/// our own account and park it ourselves: a slice is at most twice
/// `slice_fuel` long.
#[inline]
pub(crate) fn charge(cx: &mut Cx<'_>, fuel: u64) -> wasmtime::Result<bool> {
    let before = cx.get_fuel()?;
    let Some(left) = before.checked_sub(fuel) else {
        cx.set_fuel(0)?;
        let data = cx.data_mut();
        let failure = data.facts.out_of_fuel();
        return Err(data.stop(failure));
    };
    cx.set_fuel(left)?;
    let data = cx.data_mut();
    data.fuel_before = data.facts.fuel_max.saturating_sub(left);
    data.progress.pay(data.fuel_before);
    let slice = data.progress.slices.load(Ordering::Relaxed);
    if data.slice != slice {
        data.slice = slice;
        data.slice_fuel_left_at_start = before;
    }
    let slice_fuel = data.limits.slice_fuel;
    let is_worked_out = data.unpriced.slice == slice && data.unpriced.work >= slice_fuel;
    Ok(is_worked_out || data.slice_fuel_left_at_start.saturating_sub(left) >= slice_fuel)
}

/// Parks the guest until its future is polled again.
pub(crate) fn slice_end(cx: &mut Cx<'_>) -> SliceEnd {
    count(&cx.data().progress.host_slices);
    SliceEnd { parked: false }
}

/// Pending once.
pub(crate) struct SliceEnd {
    parked: bool,
}

impl Future for SliceEnd {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if mem::replace(&mut self.parked, true) {
            return Poll::Ready(());
        }
        // As the engine does at its own slice ends.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Parks the guest until the question on its line is answered.
pub(crate) async fn answer(cx: &mut Cx<'_>) -> Answered {
    // The line is reached through the store each time, as it must not be held across a wait.
    std::future::poll_fn(|_| match cx.data_mut().line().take_answer() {
        Some(answered) => Poll::Ready(answered),
        None => Poll::Pending,
    })
    .await
}

/// Takes what an answer has cost from the guest, which has been parked for it and so begins a
/// new slice: what others have done for it has not taken its own time.
pub(crate) fn charge_answer(cx: &mut Cx<'_>, fuel: u64) -> wasmtime::Result<()> {
    charge(cx, fuel)?;
    let left = cx.get_fuel()?;
    let data = cx.data_mut();
    data.slice = data.progress.slices.load(Ordering::Relaxed);
    data.slice_fuel_left_at_start = left;
    Ok(())
}

/// Runs `f` with the context's state, and with the store to borrow the guest's
/// lists from at the same time.
#[inline]
pub(crate) fn with_state<R>(
    cx: &mut Cx<'_>,
    f: impl FnOnce(&mut dyn GuestState, StoreContext<'_, HostContext>) -> R,
) -> wasmtime::Result<R> {
    let Some(mut state) = cx.data_mut().state.take() else {
        let what = "a host function found no state during a turn".to_owned();
        return Err(cx.data_mut().stop(Failure::OurBug { what }));
    };
    let result = f(&mut *state.0, cx.as_context());
    let unseen = state.0.take_unseen();
    let data = cx.data_mut();
    data.state = Some(state);
    if unseen > 0 {
        data.did_unpriced(unseen);
    }
    Ok(result)
}

/// Linear memory and tables of the running instance.
#[async_trait]
impl ResourceLimiterAsync for HostContext {
    async fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let max = self.limits.memory_bytes_max;
        if desired as u64 > max {
            // Stopped here instead of letting `memory.grow` answer -1, or all
            // that could be said afterwards is that the guest's allocator
            // ran into `unreachable`.
            return Err(self.stop_growth(Failure::OutOfMemory { max }));
        }
        match maximum.filter(|maximum| desired > *maximum) {
            // Which is what comes of it, and `memory_grow_failed` hears of it.
            Some(maximum) => self.memory_refused_at = Some(maximum as u64),
            // If the system now refuses, the guest is stopped for it.
            None => {
                let bytes = desired.saturating_sub(current) as u64;
                self.take_memory(bytes)?;
                self.page_in(bytes).await;
            }
        }
        Ok(true)
    }

    /// `memory.grow` would answer -1, and the guest be blamed for what it does then.
    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        match is_the_guests(&error) {
            // The module's own maximum.
            true => Ok(()),
            false => Err(self.stop_growth(engine_bug(error))),
        }
    }

    async fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let (used, max) = (desired as u64, self.limits.table_elements_max);
        if used > max {
            let limit = "table_elements_max";
            return Err(self.stop_growth(Failure::LimitExceeded { limit, used, max }));
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        // The component's own counts as well.
        self.limits.core_instances_max as usize + 1
    }

    fn tables(&self) -> usize {
        self.limits.tables_max as usize
    }

    fn memories(&self) -> usize {
        self.limits.memories_max as usize
    }
}
