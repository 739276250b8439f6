//! Which shard runs on which core.

use rustix::process::getpid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Where shard threads run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cores {
    /// One shard after the other on the cores that this process may use, round
    /// robin if there are more shards.
    #[default]
    Every,
    /// On these, round robin.
    These(Vec<usize>),
    /// Where the kernel likes.
    Unpinned,
}

/// Cores that this process may use.
pub fn available_cores() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(None) else {
        return vec![0];
    };
    (0..CpuSet::MAX_CPU)
        .filter(|&core| set.is_set(core))
        .collect()
}

impl Cores {
    /// The core of shard number `shard`.
    pub(crate) fn of(&self, shard: usize) -> Option<usize> {
        let round_robin = |cores: &[usize]| (!cores.is_empty()).then(|| cores[shard % cores.len()]);
        match self {
            Cores::Every => round_robin(&available_cores()),
            Cores::These(cores) => round_robin(cores),
            Cores::Unpinned => None,
        }
    }
}

/// Pins the current thread. Not being allowed to is no reason to stop.
pub(crate) fn pin(core: Option<usize>) {
    let Some(core) = core else { return };
    let mut set = CpuSet::new();
    set.set(core);
    if let Err(error) = sched_setaffinity(None, &set) {
        tracing::warn!(core, %error, "a thread could not be pinned");
    }
}

/// Lets the current thread run wherever the process may: one that a shard has started is where
/// the shard is. Not being allowed to is no reason to stop.
pub(crate) fn unpin() {
    let of_process = sched_getaffinity(Some(getpid()));
    if let Err(error) = of_process.and_then(|set| sched_setaffinity(None, &set)) {
        tracing::warn!(%error, "a thread stays on the core of a shard");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_shards_than_cores_share_them_in_turn() {
        let cores = Cores::These(vec![2, 5]);
        assert_eq!(
            [0, 1, 2, 3].map(|shard| cores.of(shard)),
            [Some(2), Some(5), Some(2), Some(5)]
        );
        assert_eq!(Cores::Unpinned.of(0), None);
        assert!(Cores::Every.of(7).is_some());
    }
}
