//! Which contexts have the most to do. Only those in memory are compared: who is not in there does
//! nothing.

use std::cmp::Reverse;
use std::rc::Rc;

use corelet_store::{ApplicationId, ContextId, ContextRecord, ShardId};

use super::counts::{MethodStatistics, Sums};
use super::stored::Rows;
use super::{add_new, micros};
use crate::context::Context;
use crate::error::CallError;
use crate::rt;
use crate::shard::Shard;
use crate::warm_sum::Kept;
use crate::weight::Weight;

/// Contexts that are looked at between two breaths.
const PAGE: usize = 1_024;

/// By what contexts are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RankedBy {
    /// Fuel that they have spent.
    #[default]
    Fuel,
    /// Calls.
    Calls,
    /// Calls that failed.
    Failures,
    /// Time that their calls took, waiting included.
    Time,
}

/// In which time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RankedOver {
    /// The last ten to twenty seconds.
    #[default]
    Recent,
    /// Since each came into memory, at the start of the server at the earliest.
    Memory,
}

/// What is asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct BusyQuestion {
    /// By what.
    pub by: RankedBy,
    /// In which time.
    pub over: RankedOver,
    /// How many.
    pub limit: usize,
}

impl BusyQuestion {
    fn rank(&self, recent: Sums, in_memory: Sums) -> u64 {
        let sums = match self.over {
            RankedOver::Recent => recent,
            RankedOver::Memory => in_memory,
        };
        match self.by {
            RankedBy::Fuel => sums.fuel,
            RankedBy::Calls => sums.calls,
            RankedBy::Failures => sums.failures,
            RankedBy::Time => sums.micros,
        }
    }
}

/// The contexts with the most to do.
#[derive(Clone, Debug, Default)]
pub struct Busiest {
    /// The busiest first. One that has nothing of what is asked for is not among them.
    pub contexts: Vec<BusyContext>,
    /// All contexts that were compared, together.
    pub recent: Sums,
    /// The same since each came into memory.
    pub in_memory: Sums,
    /// How long what is recent has taken, in microseconds.
    pub recent_micros: u64,
    /// Fuel that all contexts have spent since the start, each shard's read together with its `contexts`.
    pub fuel: u64,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct BusyContext {
    /// Its id.
    pub id: ContextId,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The application that it runs.
    pub application: ApplicationId,
    /// The shard that owns it.
    pub shard: ShardId,
    /// Its part of that, beside others.
    pub weight: Weight,
    /// What it has done in the last ten to twenty seconds.
    pub recent: Sums,
    /// The same since it came into memory.
    pub in_memory: Sums,
    /// The same since ever, with all that is counted.
    pub total: MethodStatistics,
    /// Calls that wait for their turn.
    pub waiting: u64,
    /// Linear memory of its warm instances.
    pub memory_bytes: u64,
}

impl Busiest {
    /// Puts what several shards have found together.
    pub(crate) fn merge(parts: Vec<Busiest>, question: &BusyQuestion) -> Busiest {
        let mut all = Busiest::default();
        for part in parts {
            all.contexts.extend(part.contexts);
            all.recent.add(part.recent);
            all.in_memory.add(part.in_memory);
            all.recent_micros = all.recent_micros.max(part.recent_micros);
            all.fuel += part.fuel;
        }
        let rank = |busy: &BusyContext| Reverse(question.rank(busy.recent, busy.in_memory));
        all.contexts.sort_by_key(|busy| (rank(busy), busy.id));
        all.contexts.truncate(question.limit);
        all
    }
}

impl Shard {
    /// The contexts of this shard that have the most to do.
    pub(crate) async fn busiest_here(
        self: &Rc<Self>,
        question: BusyQuestion,
    ) -> Result<Busiest, CallError> {
        let live: Vec<Rc<Context>> = {
            let contexts = self.contexts.borrow();
            contexts.iter().map(|(_, it)| Rc::clone(it)).collect()
        };
        let mut found = Busiest {
            recent_micros: micros(self.statistics.recent()),
            ..Busiest::default()
        };
        let mut ranked = Vec::new();
        for some in live.chunks(PAGE) {
            for context in some {
                let (recent, in_memory) = (context.counts.recent(), context.counts.in_memory());
                found.recent.add(recent);
                found.in_memory.add(in_memory);
                let rank = question.rank(recent, in_memory);
                if rank > 0 {
                    ranked.push((rank, context));
                }
            }
            rt::yield_now().await;
        }
        let order = |&(rank, context): &(u64, &Rc<Context>)| (Reverse(rank), context.id);
        if ranked.len() > question.limit {
            ranked.select_nth_unstable_by_key(question.limit, order);
            ranked.truncate(question.limit);
        }
        ranked.sort_unstable_by_key(order);
        found.fuel = self.stats.fuel.get();
        for (_, context) in ranked {
            if let Some(busy) = self.busy(context)? {
                found.contexts.push(busy);
            }
        }
        Ok(found)
    }

    /// None if there is nothing to tell of it any more.
    fn busy(self: &Rc<Self>, context: &Rc<Context>) -> Result<Option<BusyContext>, CallError> {
        if context.deleted.get() {
            return Ok(None);
        }
        let id = context.id;
        let read = self.read_busy(context);
        self.quarantine_if_damaged(id, &read);
        let (record, mut rows) = match read {
            Ok(Some(read)) => read,
            Ok(None) => return Ok(None),
            // Its neighbours are there to be told of.
            Err(error) if error.damage().is_some() => return Ok(None),
            Err(error) => return Err(error),
        };
        add_new(&mut rows, context);
        let mut total = MethodStatistics::default();
        rows.iter().for_each(|(_, row)| total.add(row));
        let warm = context.warm.borrow();
        Ok(Some(BusyContext {
            id,
            name: record.name,
            application: context.code().application,
            shard: self.id,
            weight: context.share.weight.get(),
            recent: context.counts.recent(),
            in_memory: context.counts.in_memory(),
            total,
            waiting: context.waiting() as u64,
            memory_bytes: warm.iter().map(Kept::memory_bytes).sum(),
        }))
    }

    fn read_busy(&self, context: &Context) -> Result<Option<(ContextRecord, Rows)>, CallError> {
        let record = self.snapshots.latest().context(&context.id)?;
        let rows = self.kept_statistics(context.id, context.slot)?;
        Ok(record.map(|record| (record, rows)))
    }
}
