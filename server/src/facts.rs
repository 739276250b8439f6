//! What is true for the whole process and the same on every shard: the
//! configuration, who may come in, and what each shard counts. Made once at
//! start; afterwards only counters and the two flags change.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use corelet_shard::{Counter, ShardStats};
use corelet_store::NodeId;

use crate::auth::Guard;
use crate::config::Config;
use crate::refusal::{Code, Refused};

/// The process, as its front doors know it.
pub(crate) struct Facts {
    /// The configuration in force.
    pub config: Config,
    /// Who may come in.
    pub guard: Guard,
    /// This node.
    pub node_id: NodeId,
    /// Where it listens.
    pub address: SocketAddr,
    /// One board per shard.
    pub boards: Vec<Board>,
    started: Instant,
    started_unix: u64,
    ready: AtomicBool,
}

impl Facts {
    /// Facts about a process that starts now and is not ready yet.
    pub(crate) fn new(
        config: Config,
        guard: Guard,
        node_id: NodeId,
        address: SocketAddr,
        shards: u16,
    ) -> Facts {
        let boards = (0..shards).map(|_| Board::default()).collect();
        #[expect(clippy::disallowed_methods, reason = "for people, who read the date")]
        let started_unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let (started, ready) = (Instant::now(), AtomicBool::new(false));
        Facts {
            config,
            guard,
            node_id,
            address,
            boards,
            started,
            started_unix,
            ready,
        }
    }

    /// Whether new work is welcome.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Says whether new work is welcome.
    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// Seconds since the start.
    pub(crate) fn uptime_seconds(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    /// Microseconds since the start.
    pub(crate) fn uptime_micros(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// The start as seconds since 1970.
    pub(crate) fn started_unix(&self) -> u64 {
        self.started_unix
    }
}

/// What one shard counts: its front door's figures, and its own.
#[derive(Debug, Default)]
pub(crate) struct Board {
    /// What the front door counts.
    pub door: DoorStats,
    /// What the shard counts; there once it runs.
    pub shard: OnceLock<Arc<ShardStats>>,
}

/// What the front door of one shard counts. One writer: that shard's thread.
#[derive(Debug, Default)]
pub(crate) struct DoorStats {
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections turned away at the limit.
    pub turned_away: Counter,
    /// Connections closed because they were slow or idle.
    pub cut: Counter,
    /// JSON-RPC calls that worked.
    pub calls_ok: Counter,
    /// JSON-RPC calls refused, by code.
    pub calls_refused: ByCode,
    /// Calls and other requests refused at a limit, by its name.
    pub refused_by_limit: ByLimit,
    /// Other requests, by the first digit of their status.
    pub requests: [Counter; 6],
}

/// A counter for each code of the catalogue.
#[derive(Debug)]
pub(crate) struct ByCode([Counter; Code::ALL.len()]);

impl ByCode {
    /// The counter of this one.
    pub(crate) fn of(&self, code: Code) -> &Counter {
        &self.0[code as usize]
    }
}

// Derived, it would end at 32 codes.
impl Default for ByCode {
    fn default() -> ByCode {
        ByCode(std::array::from_fn(|_| Counter::default()))
    }
}

/// Limits that have a counter of their own: more than there are.
const LIMITS: usize = 256;

/// A counter for each limit at which somebody was refused, in the order in which they were met.
/// Their names are the program's own, so there are so many and no more. One writer, as for
/// the counters.
#[derive(Debug)]
pub(crate) struct ByLimit {
    met: Box<[(OnceLock<Box<str>>, Counter)]>,
    others: Counter,
}

impl Default for ByLimit {
    fn default() -> ByLimit {
        ByLimit {
            met: (0..LIMITS).map(|_| Default::default()).collect(),
            others: Counter::default(),
        }
    }
}

impl ByLimit {
    /// The counter of this one.
    fn of(&self, limit: &str) -> &Counter {
        let mut met = self.met.iter();
        let found = met.find(|(name, _)| &**name.get_or_init(|| Box::from(limit)) == limit);
        found.map_or(&self.others, |(_, counter)| counter)
    }

    /// Each that was met, and how often.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, u64)> {
        let met = self.met.iter();
        let met = met.map_while(|(name, counter)| Some((&**name.get()?, counter.get())));
        let others = self.others.get();
        met.chain((others > 0).then_some(("others", others)))
    }
}

impl DoorStats {
    /// Counts a call by how it ended.
    pub(crate) fn count_call(&self, refused: Option<&Refused>) {
        match refused {
            None => self.calls_ok.one(),
            Some(refused) => {
                self.calls_refused.of(refused.code).one();
                self.count_limit(refused.limit.as_deref());
            }
        }
    }

    /// Counts a call or a request that was refused at this limit, if at one.
    pub(crate) fn count_limit(&self, limit: Option<&str>) {
        if let Some(limit) = limit {
            self.refused_by_limit.of(limit).one();
        }
    }

    /// Counts a request that is not a call.
    pub(crate) fn count_request(&self, status: u16) {
        if let Some(counter) = self.requests.get(usize::from(status / 100)) {
            counter.one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_counted_by_its_name_and_those_beyond_all_bounds_together() {
        let stats = DoorStats::default();
        for limit in ["one", "other", "one"] {
            stats.count_limit(Some(limit));
        }
        stats.count_limit(None);
        let counted = |stats: &DoorStats| -> Vec<(String, u64)> {
            let all = stats.refused_by_limit.all();
            all.map(|(limit, count)| (limit.to_owned(), count))
                .collect()
        };
        let expected = [("one".to_owned(), 2), ("other".to_owned(), 1)];
        assert_eq!(counted(&stats), expected);
        for n in 0..LIMITS {
            stats.count_limit(Some(&n.to_string()));
        }
        let all = counted(&stats);
        assert_eq!(all.len(), LIMITS + 1);
        assert_eq!(all[LIMITS], ("others".to_owned(), 2));
    }
}
