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
use crate::refusal::Code;

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

impl DoorStats {
    /// Counts a call by how it ended.
    pub(crate) fn count_call(&self, refused: Option<Code>) {
        match refused {
            None => self.calls_ok.one(),
            Some(code) => self.calls_refused.of(code).one(),
        }
    }

    /// Counts a request that is not a call.
    pub(crate) fn count_request(&self, status: u16) {
        if let Some(counter) = self.requests.get(usize::from(status / 100)) {
            counter.one();
        }
    }
}
