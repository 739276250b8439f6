//! The watchdog: a plain thread that sees when a shard stops beating.
//!
//! Each shard counts a beat every [`BEAT`]. A late beat is logged and counted;
//! a shard that stays silent is given up: every thread's place in the program
//! is written to the log and the process aborts, so that its supervisor starts
//! a new one within seconds. A wedged reactor or a blocking call on a shard
//! thread thus costs a restart, not an outage.
//!
//! A watchdog that has not run for as long as it takes to be late says nothing
//! about the shards: they may have been stopped with it. It begins anew.
//!
//! It may be the log that hangs, and the shard in it. So the watchdog does not
//! log: it has a thread that speaks for it, and does not wait for that for long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::bounds::WatchdogConfig;
use crate::ending::Ending;
use crate::stats::ShardStats;

/// How often a shard beats.
pub(crate) const BEAT: Duration = Duration::from_millis(50);

/// Looks are so far apart at most, unless the process was paused between them.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const _: () = assert!(PAUSE_MIN.as_millis() >= 2 * BEAT.as_millis());

/// How long the process, which is given up, waits for its last words to be written.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

/// Warnings that wait to be logged. One more is left out: it is counted all the same.
const WARNINGS_MAX: usize = 16;

/// The running watchdog; stops when dropped.
pub(crate) struct Watchdog {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    pub(crate) fn start(
        shards: Vec<Arc<ShardStats>>,
        config: WatchdogConfig,
        ending: Ending,
    ) -> std::io::Result<Watchdog> {
        let (voice, words) = sync_channel(WARNINGS_MAX);
        std::thread::Builder::new()
            .name("watchdog-log".to_owned())
            .spawn(move || speak(&words, ending))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || {
                let mut watch = Watch::begin(shards, config, Instant::now());
                while !stopped.load(Ordering::Relaxed) {
                    std::thread::park_timeout(BEAT);
                    watch.look(Instant::now(), |number, finding| match finding {
                        Finding::Fine => {}
                        Finding::Late(silence) => {
                            let _ = voice.try_send(Words::Late(number, silence));
                        }
                        Finding::Dead(silence) => give_up(number, silence, &voice),
                    });
                }
            })?;
        Ok(Watchdog {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A watchdog that panicked has nothing left to clean up.
            let _ = thread.join();
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Finding {
    Fine,
    Late(Duration),
    Dead(Duration),
}

/// All shards, and when they were last looked at.
struct Watch {
    shards: Vec<Watched>,
    config: WatchdogConfig,
    looked: Instant,
}

impl Watch {
    fn begin(shards: Vec<Arc<ShardStats>>, config: WatchdogConfig, now: Instant) -> Watch {
        let watched = |stats| Watched::new(stats, now);
        Watch {
            shards: shards.into_iter().map(watched).collect(),
            config,
            looked: now,
        }
    }

    /// Looks at each shard, and tells what it finds.
    fn look(&mut self, now: Instant, mut found: impl FnMut(usize, Finding)) {
        let unwatched = now.saturating_duration_since(self.looked);
        self.looked = now;
        // Who has not looked for so long did not run, and neither did the shards:
        // the process was stopped, its cgroup frozen or its machine paused. What
        // they have missed is no silence of theirs.
        let was_paused = unwatched >= self.config.warn_after.max(PAUSE_MIN);
        for (number, shard) in self.shards.iter_mut().enumerate() {
            if was_paused {
                shard.since = now;
            }
            found(number, shard.look(now, &self.config));
        }
    }
}

struct Watched {
    stats: Arc<ShardStats>,
    beats: u64,
    since: Instant,
    warned: bool,
}

impl Watched {
    fn new(stats: Arc<ShardStats>, now: Instant) -> Watched {
        Watched {
            beats: stats.beats.get(),
            stats,
            since: now,
            warned: false,
        }
    }

    fn look(&mut self, now: Instant, config: &WatchdogConfig) -> Finding {
        let beats = self.stats.beats.get();
        if beats != self.beats {
            self.beats = beats;
            self.since = now;
            self.warned = false;
            return Finding::Fine;
        }
        let silence = now.saturating_duration_since(self.since);
        if silence >= config.abort_after {
            Finding::Dead(silence)
        } else if silence >= config.warn_after && !self.warned {
            self.warned = true;
            self.stats.late_beats.one();
            Finding::Late(silence)
        } else {
            Finding::Fine
        }
    }
}

/// What the watchdog has to say, of which shard.
enum Words {
    Late(usize, Duration),
    /// Answered once it is out.
    Dead(usize, Duration, SyncSender<()>),
}

fn give_up(shard: usize, silence: Duration, voice: &SyncSender<Words>) -> ! {
    let (said, is_said) = sync_channel(1);
    // A voice with so much to say that it takes no more is as good as stuck.
    if voice.try_send(Words::Dead(shard, silence, said)).is_ok() {
        let _ = is_said.recv_timeout(LAST_WORDS_MAX);
    }
    std::process::abort()
}

fn speak(words: &Receiver<Words>, ending: Ending) {
    while let Ok(words) = words.recv() {
        match words {
            Words::Late(shard, silence) => {
                tracing::warn!(
                    shard,
                    ?silence,
                    "a shard is late: something blocks its thread"
                );
            }
            Words::Dead(shard, silence, said) => {
                tracing::error!(shard, ?silence, threads = %where_threads_wait(), "a shard hangs: ending the process to be restarted");
                (ending.flush_log)();
                let _ = said.try_send(());
            }
        }
    }
}

/// What the kernel tells about each thread of this process: its name, its
/// state and where in the kernel it waits.
fn where_threads_wait() -> String {
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else {
        return String::new();
    };
    let mut lines = Vec::new();
    for thread in threads.flatten() {
        let path = thread.path();
        let name = read(path.join("comm"));
        let status = read(path.join("status"));
        let state = status
            .lines()
            .find_map(|line| line.strip_prefix("State:"))
            .unwrap_or("")
            .trim();
        let call = read(path.join("syscall"));
        let call = call.split_whitespace().next().unwrap_or("?");
        let waits = read(path.join("wchan"));
        lines.push(format!(
            "{} [{state}] syscall {call} {}",
            name.trim(),
            waits.trim()
        ));
    }
    lines.sort();
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> WatchdogConfig {
        WatchdogConfig {
            warn_after: Duration::from_millis(250),
            abort_after: Duration::from_secs(2),
        }
    }

    /// One shard beats again after the pause, the other hangs.
    #[test]
    fn a_pause_of_the_process_is_no_silence_of_its_shards() {
        let [well, hangs]: [Arc<ShardStats>; 2] = Default::default();
        let start = Instant::now();
        let shards = vec![Arc::clone(&well), Arc::clone(&hangs)];
        let mut watch = Watch::begin(shards, config(), start);
        let mut look = |ms: u64| {
            let mut found = Vec::new();
            let now = start + Duration::from_millis(ms);
            watch.look(now, |number, finding| {
                if finding != Finding::Fine {
                    found.push((number, finding));
                }
            });
            found
        };
        assert_eq!(look(50), []);
        assert_eq!(look(60_050), [], "nobody ran for a minute");
        for ms in (60_100..60_300).step_by(50) {
            well.beats.one();
            assert_eq!(look(ms), [], "at {ms}");
        }
        let late = Finding::Late(Duration::from_millis(250));
        assert_eq!(look(60_300), [(1, late)]);
        for ms in (60_350..62_050).step_by(50) {
            well.beats.one();
            assert_eq!(look(ms), [], "at {ms}");
        }
        let dead = Finding::Dead(Duration::from_secs(2));
        assert_eq!(look(62_050), [(1, dead)]);
    }

    #[test]
    fn silence_is_first_reported_once_and_then_final() {
        let stats = Arc::new(ShardStats::default());
        let start = Instant::now();
        let mut watched = Watched::new(Arc::clone(&stats), start);
        let config = config();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(watched.look(at(100), &config), Finding::Fine);
        assert_eq!(
            watched.look(at(300), &config),
            Finding::Late(Duration::from_millis(300))
        );
        assert_eq!(watched.look(at(400), &config), Finding::Fine);
        stats.beats.one();
        assert_eq!(watched.look(at(500), &config), Finding::Fine);
        assert_eq!(
            watched.look(at(2_400), &config),
            Finding::Late(Duration::from_millis(1_900))
        );
        assert_eq!(
            watched.look(at(2_500), &config),
            Finding::Dead(Duration::from_secs(2))
        );
        assert_eq!(stats.late_beats.get(), 2);
    }
}
