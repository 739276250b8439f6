//! Counters of what the host has done, readable from any thread.
//!
//! Whole-process truth, written with relaxed atomics from every core; each
//! number is exact, but two numbers read together may be of slightly different
//! moments.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::compile::NotCompiled;
use crate::failure::Failure;
use crate::limits::Limits;

/// The live counters. [`Stats::read`] gives plain numbers.
#[derive(Debug)]
pub(crate) struct Stats {
    compilations: [Compilations; OUTCOMES],
    pub(crate) cache_hits: AtomicU64,
    pub(crate) cache_misses: AtomicU64,
    pub(crate) cache_rejects: AtomicU64,
    pub(crate) cache_evictions: AtomicU64,
    pub(crate) cache_write_failures: AtomicU64,
    pub(crate) refusals: AtomicU64,
    pub(crate) refusals_remembered: AtomicU64,
    pub(crate) instantiations: AtomicU64,
    pub(crate) pool_exhausted: AtomicU64,
    pub(crate) instances_live: AtomicU64,
    pub(crate) memory_bytes_live: AtomicU64,
    limits_reached: [AtomicU64; LIMITS],
    lanes: [Lane; LANES],
}

/// Threads that count turns without getting into each other's way. With more
/// of them two share a lane, which costs time and no count.
const LANES: usize = 64;

/// What is counted for each turn. A cache line that two cores write to travels
/// between them each time, so each thread has lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Lane {
    pub(crate) turns: AtomicU64,
    pub(crate) slices: AtomicU64,
    pub(crate) turns_cancelled: AtomicU64,
    failures: [AtomicU64; FAILURE_KINDS],
}

const FAILURE_KINDS: usize = 17;

const LIMITS: usize = Limits::TABLE.len();

/// Compilations that ended in the same way.
#[derive(Debug, Default)]
struct Compilations {
    count: AtomicU64,
    micros: AtomicU64,
}

/// How a compilation ended, as a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompileOutcome {
    /// With machine code.
    Compiled,
    /// The component is not valid.
    Invalid,
    /// With more machine code than allowed.
    TooLarge,
    /// Its CPU time was used up.
    Cpu,
    /// Its memory was used up.
    Memory,
    /// It took too long by the clock.
    Time,
    /// The compiler crashed.
    Crashed,
    /// The compiler was killed from outside.
    Killed,
    /// The compiler's process could not be used.
    Unusable,
    /// The host stopped.
    Stopped,
}

const OUTCOMES: usize = CompileOutcome::ALL.len();

impl CompileOutcome {
    /// All of them, in the order of their numbers.
    pub const ALL: [CompileOutcome; 10] = [
        CompileOutcome::Compiled,
        CompileOutcome::Invalid,
        CompileOutcome::TooLarge,
        CompileOutcome::Cpu,
        CompileOutcome::Memory,
        CompileOutcome::Time,
        CompileOutcome::Crashed,
        CompileOutcome::Killed,
        CompileOutcome::Unusable,
        CompileOutcome::Stopped,
    ];

    /// The label's text.
    pub fn name(self) -> &'static str {
        match self {
            CompileOutcome::Compiled => "compiled",
            CompileOutcome::Invalid => "invalid",
            CompileOutcome::TooLarge => "too_large",
            CompileOutcome::Cpu => "out_of_cpu_time",
            CompileOutcome::Memory => "out_of_memory",
            CompileOutcome::Time => "timed_out",
            CompileOutcome::Crashed => "crashed",
            CompileOutcome::Killed => "killed",
            CompileOutcome::Unusable => "unusable",
            CompileOutcome::Stopped => "stopped",
        }
    }

    pub(crate) fn of(error: Option<&NotCompiled>) -> CompileOutcome {
        match error {
            None => CompileOutcome::Compiled,
            Some(NotCompiled::Invalid { .. }) => CompileOutcome::Invalid,
            Some(NotCompiled::TooLarge { .. }) => CompileOutcome::TooLarge,
            Some(NotCompiled::Cpu { .. }) => CompileOutcome::Cpu,
            Some(NotCompiled::Memory { .. }) => CompileOutcome::Memory,
            Some(NotCompiled::Time { .. }) => CompileOutcome::Time,
            Some(NotCompiled::Crashed { .. }) => CompileOutcome::Crashed,
            Some(NotCompiled::Killed { .. }) => CompileOutcome::Killed,
            Some(NotCompiled::Unusable { .. }) => CompileOutcome::Unusable,
            Some(NotCompiled::Stopped) => CompileOutcome::Stopped,
        }
    }
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Default for Stats {
    fn default() -> Stats {
        Stats {
            lanes: std::array::from_fn(|_| Lane::default()),
            compilations: Default::default(),
            cache_hits: AtomicU64::default(),
            cache_misses: AtomicU64::default(),
            cache_rejects: AtomicU64::default(),
            cache_evictions: AtomicU64::default(),
            cache_write_failures: AtomicU64::default(),
            refusals: AtomicU64::default(),
            refusals_remembered: AtomicU64::default(),
            instantiations: AtomicU64::default(),
            pool_exhausted: AtomicU64::default(),
            instances_live: AtomicU64::default(),
            memory_bytes_live: AtomicU64::default(),
            limits_reached: std::array::from_fn(|_| AtomicU64::default()),
        }
    }
}

impl Lane {
    fn count_failure(&self, failure: &Failure) {
        let index = match failure {
            Failure::Application { .. } => 0,
            Failure::Trapped { .. } => 1,
            Failure::OutOfFuel { .. } => 2,
            Failure::OutOfMemory { .. } => 3,
            Failure::StackOverflow { .. } => 4,
            Failure::LimitExceeded { .. } => 5,
            Failure::WroteInQuery => 6,
            Failure::OutsideTurn { .. } => 7,
            Failure::InvalidOutput { .. } => 8,
            Failure::State(_) => 9,
            Failure::OurBug { .. } => 10,
            Failure::MemoryFull { .. } => 11,
            Failure::Misused { .. } => 12,
            Failure::Busy { .. } => 13,
            Failure::TimedOut { .. } => 14,
            Failure::Cancelled => 15,
            Failure::AskedInUpdate => 16,
        };
        count(&self.failures[index]);
    }
}

impl Stats {
    pub(crate) fn count_compilation(&self, outcome: CompileOutcome, micros: u64) {
        let compilations = &self.compilations[outcome as usize];
        count(&compilations.count);
        compilations.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Counts a turn that failed, and the limit that it reached if that is why.
    pub(crate) fn count_failure(&self, failure: &Failure) {
        self.lane().count_failure(failure);
        if let Some((limit, _)) = failure.limit() {
            self.count_limit(limit);
        }
    }

    /// Counts that a guest has reached the limit of this name, whether or not its turn goes on.
    pub(crate) fn count_limit(&self, limit: &str) {
        let place = Limits::TABLE.iter().position(|info| info.name == limit);
        if let Some(reached) = place.and_then(|place| self.limits_reached.get(place)) {
            count(reached);
        }
    }

    /// The lane of this thread.
    #[inline]
    pub(crate) fn lane(&self) -> &Lane {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static NUMBER: usize = THREADS.fetch_add(1, Ordering::Relaxed);
        }
        &self.lanes[NUMBER.with(|number| number % LANES)]
    }

    pub(crate) fn read(&self) -> HostStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let sum = |counter: &dyn Fn(&Lane) -> &AtomicU64| {
            self.lanes
                .iter()
                .map(|lane| get(counter(lane)))
                .sum::<u64>()
        };
        let failures: [u64; FAILURE_KINDS] =
            std::array::from_fn(|kind| sum(&|lane| &lane.failures[kind]));
        HostStats {
            compiles: get(&self.compilations[CompileOutcome::Compiled as usize].count),
            compilations: CompileOutcome::ALL.map(|outcome| {
                let Compilations { count, micros } = &self.compilations[outcome as usize];
                (outcome, get(count), get(micros))
            }),
            cache_hits: get(&self.cache_hits),
            cache_misses: get(&self.cache_misses),
            cache_rejects: get(&self.cache_rejects),
            cache_evictions: get(&self.cache_evictions),
            cache_write_failures: get(&self.cache_write_failures),
            refusals: get(&self.refusals),
            refusals_remembered: get(&self.refusals_remembered),
            instantiations: get(&self.instantiations),
            pool_exhausted: get(&self.pool_exhausted),
            instances_live: get(&self.instances_live),
            memory_bytes_live: get(&self.memory_bytes_live),
            limits_reached: std::array::from_fn(|place| get(&self.limits_reached[place])),
            turns: sum(&|lane| &lane.turns),
            slices: sum(&|lane| &lane.slices),
            turns_cancelled: sum(&|lane| &lane.turns_cancelled),
            failures: TrapCounts {
                application: failures[0],
                trapped: failures[1],
                out_of_fuel: failures[2],
                out_of_memory: failures[3],
                stack_overflow: failures[4],
                limit_exceeded: failures[5],
                wrote_in_query: failures[6],
                outside_turn: failures[7],
                invalid_output: failures[8],
                state: failures[9],
                our_bug: failures[10],
                memory_full: failures[11],
                misused: failures[12],
                busy: failures[13],
                timed_out: failures[14],
                cancelled: failures[15],
                asked_in_update: failures[16],
            },
        }
    }
}

/// What the host has done since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostStats {
    /// Modules compiled.
    pub compiles: u64,
    /// Attempts at that by how they ended, and the microseconds that they took
    /// by the clock.
    pub compilations: [(CompileOutcome, u64, u64); OUTCOMES],
    /// Compiled modules taken from disk.
    pub cache_hits: u64,
    /// Modules that were not on disk.
    pub cache_misses: u64,
    /// Files that were on disk, but damaged, forged or of another version.
    pub cache_rejects: u64,
    /// Files removed to stay below `cache_bytes_max`.
    pub cache_evictions: u64,
    /// Compiled modules that could not be written to disk.
    pub cache_write_failures: u64,
    /// Modules refused after a look at them.
    pub refusals: u64,
    /// Modules refused from memory.
    pub refusals_remembered: u64,
    /// Instances made.
    pub instantiations: u64,
    /// Instances not made because the pool was used up.
    pub pool_exhausted: u64,
    /// Instances that exist now, warm or running.
    pub instances_live: u64,
    /// Their linear memory, as far as it has grown.
    pub memory_bytes_live: u64,
    /// How often guests have reached each limit of [`Limits::TABLE`], in its order: whatever they ran
    /// for, and also where the guest is told and goes on.
    pub limits_reached: [u64; LIMITS],
    /// Turns begun.
    pub turns: u64,
    /// Fuel slices that ended before their turn did.
    pub slices: u64,
    /// Turns dropped before their end.
    pub turns_cancelled: u64,
    /// Turns that failed, by kind.
    pub failures: TrapCounts,
}

/// Failed turns by the variant of [`crate::Failure`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrapCounts {
    /// The application said no.
    pub application: u64,
    /// Traps of instructions.
    pub trapped: u64,
    /// Fuel used up.
    pub out_of_fuel: u64,
    /// Memory limit.
    pub out_of_memory: u64,
    /// Stack limit.
    pub stack_overflow: u64,
    /// Any other limit.
    pub limit_exceeded: u64,
    /// Queries that tried to write.
    pub wrote_in_query: u64,
    /// Host calls without a context.
    pub outside_turn: u64,
    /// Invalid pointers, text or JSON.
    pub invalid_output: u64,
    /// The state could not answer.
    pub state: u64,
    /// Ours to repair.
    pub our_bug: u64,
    /// No memory left over all instances.
    pub memory_full: u64,
    /// An entry was used as what it is not.
    pub misused: u64,
    /// Others used what there is of something.
    pub busy: u64,
    /// Stopped by the clock.
    pub timed_out: u64,
    /// Stopped on somebody's word.
    pub cancelled: u64,
    /// Updates that asked another context's query.
    pub asked_in_update: u64,
}
