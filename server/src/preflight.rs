//! Whether this machine can run the server: each finding says what was looked
//! at, how it is, and what to do. Run at every start and as `corelet doctor`.
//! It changes one thing only: the soft limit of open files.

use std::fs;
use std::path::{Path, PathBuf};

use corelet_store::unfinished_restore;
use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;

use crate::config::{Config, Setting};
use crate::private_dir::{NotPrivate, check_own};
use crate::refusal::chain;

/// How a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// As it should be.
    Good,
    /// The server runs, but worse or less safely than it could.
    Warning,
    /// The server would not run, or not safely.
    Blocker,
}

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// How it weighs.
    pub weight: Weight,
    /// How it is.
    pub found: String,
    /// What to do about it; empty if good.
    pub advice: String,
}

impl Finding {
    fn good(what: &'static str, found: impl Into<String>) -> Finding {
        Finding {
            what,
            weight: Weight::Good,
            found: found.into(),
            advice: String::new(),
        }
    }

    fn warning(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding {
            what,
            weight: Weight::Warning,
            found: found.into(),
            advice: advice.into(),
        }
    }

    fn blocker(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding {
            what,
            weight: Weight::Blocker,
            found: found.into(),
            advice: advice.into(),
        }
    }
}

/// What the checks hold the machine against.
#[derive(Debug)]
pub struct Demands<'a> {
    /// The configuration in force.
    pub config: &'a Config,
    /// Where the data is or will be.
    pub data_dir: &'a Path,
    /// Shards of the data directory.
    pub shards: u64,
    /// Address space that one instance slot reserves.
    pub slot_bytes: u64,
    /// Starts and stops one executor; the error's text if that fails.
    pub try_executor: fn() -> Result<(), String>,
}

/// Looks at everything, in the order in which a start would trip over it.
pub fn examine(demands: &Demands<'_>) -> Vec<Finding> {
    vec![
        kernel(&release()),
        memlock(memlock_limit(), demands.shards),
        executor((demands.try_executor)(), &io_uring_disabled()),
        open_files(
            raise_open_files(),
            demands.shards,
            demands.config.http.connections_max,
        ),
        cores(cores_available(), demands.shards),
        address_space(
            demands.shards,
            demands.config.storage.map_bytes_max.0,
            demands.config.shards.instances_max,
            demands.slot_bytes,
            address_space_limit(),
        ),
        mappings(max_map_count(), demands.config.shards.instances_max),
        filesystem(
            filesystem_of(demands.data_dir),
            demands.config.storage.allow_network_filesystem,
        ),
        disk(free_bytes(demands.data_dir)),
        data_dir(
            check_own(demands.data_dir),
            writable(demands.data_dir),
            unfinished_restore(demands.data_dir).as_deref(),
            demands.data_dir,
        ),
    ]
}

/// The oldest kernel whose io_uring has what the executor uses.
const KERNEL_LEAST: (u32, u32) = (5, 8);

fn kernel(release: &str) -> Finding {
    let mut numbers = release
        .split(['.', '-', '+'])
        .map_while(|part| part.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= KERNEL_LEAST => {
            Finding::good("kernel", release)
        }
        (Some(_), Some(_)) => Finding::blocker(
            "kernel",
            release,
            "Corelet needs Linux 5.8 or later for io_uring; upgrade the kernel",
        ),
        _ => Finding::warning(
            "kernel",
            format!("release {release:?} is not understood"),
            "make sure that it is Linux 5.8 or later",
        ),
    }
}

/// What one executor needs to lock into memory, measured.
const MEMLOCK_PER_SHARD: u64 = 512 << 10;

fn memlock(limit: Option<u64>, shards: u64) -> Finding {
    let wanted = shards * MEMLOCK_PER_SHARD;
    match limit {
        None => Finding::good("locked memory", "unlimited"),
        Some(limit) if limit >= wanted => Finding::good("locked memory", bytes(limit)),
        Some(limit) => Finding::warning(
            "locked memory",
            format!(
                "{} where {shards} shards may need {}",
                bytes(limit),
                bytes(wanted)
            ),
            "raise it: LimitMEMLOCK=infinity in the systemd unit, --ulimit memlock=-1 for docker, or memlock in /etc/security/limits.conf",
        ),
    }
}

fn executor(tried: Result<(), String>, io_uring_disabled: &str) -> Finding {
    let Err(reason) = tried else {
        return Finding::good("io_uring", "an executor starts and stops");
    };
    let advice = match io_uring_disabled {
        "2" => "io_uring is switched off: sysctl kernel.io_uring_disabled=0",
        "1" => {
            "io_uring is reserved to a group: sysctl kernel.io_uring_disabled=0, or put this user into the group of kernel.io_uring_group"
        }
        _ => {
            "in a container, allow io_uring_setup, io_uring_enter and io_uring_register in its seccomp profile, and unlimited locked memory"
        }
    };
    Finding::blocker("io_uring", reason, advice)
}

/// Descriptors of a server without clients, measured: standard streams, the lock, signals, the
/// log and the like, and a few for what is opened now and then (a compiler's pipes, blobs).
const FILES_BESIDE: u64 = 24;
/// Those of each shard, measured: rings and what wakes them, its ledger and journal, its
/// listening socket, and a journal or two that is being opened.
const FILES_PER_SHARD: u64 = 16;
/// Connections for which each shard has to have room; with fewer nobody is served.
const CONNECTIONS_LEAST: u64 = 8;

fn open_files(limit: Option<u64>, shards: u64, connections_max: u64) -> Finding {
    let what = "open files";
    let connections = connections_max.min(CONNECTIONS_LEAST);
    let least = FILES_BESIDE + shards * (FILES_PER_SHARD + connections);
    let wanted = 256 + shards * (64 + connections_max);
    match limit {
        None => Finding::good(what, "unlimited"),
        Some(limit) if limit >= wanted => Finding::good(what, limit.to_string()),
        Some(limit) if limit < least => Finding::blocker(
            what,
            format!(
                "{limit} where {shards} shards need at least {least}, and the settings allow {wanted}"
            ),
            "raise the hard limit (ulimit -Hn, LimitNOFILE in the systemd unit, --ulimit nofile for docker)",
        ),
        Some(limit) => Finding::warning(
            what,
            format!("{limit} where the settings allow {wanted}"),
            "raise the hard limit (LimitNOFILE in the systemd unit, --ulimit nofile for docker), or lower http.connections_max",
        ),
    }
}

fn cores(available: u64, shards: u64) -> Finding {
    let found = format!("{available} for {shards} shards");
    if shards > available {
        Finding::warning(
            "cores",
            found,
            "shards share cores, which costs latency; give the process more cores, or make a new data directory with fewer shards",
        )
    } else {
        Finding::good("cores", found)
    }
}

/// What a process can address on x86-64 and aarch64.
const ADDRESS_SPACE: u64 = 128 << 40;

fn address_space(shards: u64, map: u64, instances: u64, slot: u64, limit: Option<u64>) -> Finding {
    let what = "address space";
    let maps = shards.saturating_mul(map);
    let slots = instances.saturating_mul(slot);
    let sum = maps.saturating_add(slots);
    let found = format!(
        "{} = {shards} shards x {} + {instances} instances x {}",
        bytes(sum),
        bytes(map),
        bytes(slot)
    );
    if sum >= ADDRESS_SPACE {
        return Finding::blocker(
            what,
            found,
            "must stay below 128 TiB: lower storage.map_bytes_max or shards.instances_max",
        );
    }
    match limit {
        Some(limit) if limit < sum => Finding::blocker(
            what,
            format!("{found}, limited to {}", bytes(limit)),
            "lift the limit: ulimit -v unlimited, LimitAS=infinity in the systemd unit",
        ),
        _ => Finding::good(what, found),
    }
}

/// Mappings that one instance may take: its image, memory, guards and stack.
const MAPPINGS_PER_INSTANCE: u64 = 8;
const MAPPINGS_BESIDE: u64 = 4096;

fn mappings(limit: Option<u64>, instances: u64) -> Finding {
    let wanted = instances * MAPPINGS_PER_INSTANCE + MAPPINGS_BESIDE;
    match limit {
        Some(limit) if limit < wanted => Finding::warning(
            "memory mappings",
            format!("{limit} where {instances} instances may need {wanted}"),
            format!("sysctl vm.max_map_count={wanted}, or lower shards.instances_max"),
        ),
        Some(limit) => Finding::good("memory mappings", limit.to_string()),
        None => Finding::good("memory mappings", "unknown limit"),
    }
}

/// Magic numbers of statfs(2).
fn filesystem_name(magic: u64) -> Option<&'static str> {
    Some(match magic {
        0xEF53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683E => "btrfs",
        0x2FC1_2FC1 => "zfs",
        0xF2F5_2010 => "f2fs",
        0x0102_1994 => "tmpfs",
        0x8584_58F6 => "ramfs",
        0x794C_7630 => "overlay",
        0x6573_5546 => "fuse",
        0x6969 => "nfs",
        0x0102_1997 => "9p",
        0xFF53_4D42 | 0xFE53_4D42 | 0x517B => "smb",
        0x00C3_6400 => "ceph",
        0x5346_414F => "afs",
        0x7461_636F => "ocfs2",
        0x0116_1970 => "gfs2",
        _ => return None,
    })
}

fn filesystem(magic: Option<u64>, allow_network: bool) -> Finding {
    let what = "file system";
    let Some(magic) = magic else {
        return Finding::warning(
            what,
            "cannot be found out",
            "make sure that it is a local one",
        );
    };
    let Some(name) = filesystem_name(magic) else {
        return Finding::warning(
            what,
            format!("unknown type {magic:#x}"),
            "make sure that it is a local one; ext4 and xfs are well tried",
        );
    };
    match name {
        "nfs" | "9p" | "smb" | "ceph" | "afs" | "ocfs2" | "gfs2" => {
            let advice = "a ledger needs a local file system: choose another --data-dir, or accept the risk with storage.allow_network_filesystem = true";
            if allow_network {
                Finding::warning(what, name, advice)
            } else {
                Finding::blocker(what, name, advice)
            }
        }
        "tmpfs" | "ramfs" => Finding::warning(
            what,
            name,
            "everything is lost when the machine stops; fine for trying things out",
        ),
        "overlay" => Finding::warning(
            what,
            name,
            "data in a container's own layer goes with the container: mount a volume",
        ),
        "fuse" => Finding::warning(what, name, "make sure that it keeps what fsync promised"),
        _ => Finding::good(what, name),
    }
}

const DISK_LEAST: u64 = 64 << 20;
const DISK_WANTED: u64 = 1 << 30;

fn disk(free: Option<u64>) -> Finding {
    let what = "free disk";
    match free {
        // What is there can be read, which may be just what is wanted now.
        Some(free) if free < DISK_LEAST => Finding::warning(
            what,
            bytes(free),
            "free some space, or move the data directory to a larger disk: nearly every write will be refused, removals of entries too; reads go on, and contexts, blobs and applications can be deleted",
        ),
        Some(free) if free < DISK_WANTED => Finding::warning(
            what,
            bytes(free),
            "writes are refused when it is full, removals of entries too; reads go on, and contexts, blobs and applications can be deleted",
        ),
        Some(free) => Finding::good(what, bytes(free)),
        None => Finding::warning(what, "cannot be found out", "make sure that there is some"),
    }
}

fn data_dir(
    checked: Result<(), NotPrivate>,
    writable: Result<(), Errno>,
    unfinished: Option<&Path>,
    path: &Path,
) -> Finding {
    let what = "data directory";
    let path = path.display();
    // A server would begin with nothing, and the restore could not give its place to what it
    // has made.
    if let Some(beside) = unfinished {
        let beside = beside.display();
        return Finding::blocker(
            what,
            format!(
                "a restore to {path} was cut short, or is still at it: there is no data, but {beside}"
            ),
            format!("restore again, which begins anew, or remove {beside} to start with nothing"),
        );
    }
    let is_new = matches!(&checked, Err(error) if error.is_absence());
    match (checked, writable) {
        (_, Err(Errno::ROFS)) => Finding::blocker(
            what,
            format!("the file system of {path} is read-only"),
            "mount it to be written, or choose another --data-dir",
        ),
        (Ok(()), Err(error)) => Finding::blocker(
            what,
            format!("{path} cannot be written: {error}"),
            "let its owner write it (chmod u+rwx), or choose another --data-dir",
        ),
        // For whoever asks; another user may be able to.
        (Err(_), Err(error)) if is_new => Finding::warning(
            what,
            format!("{path} cannot be made: {error}"),
            "make it, as the user that will serve, or choose another --data-dir",
        ),
        (Ok(()), Ok(())) => Finding::good(what, "nobody else can write it"),
        (Err(_), Ok(())) if is_new => Finding::good(what, "will be made"),
        (Err(error), _) => {
            let text = chain(&error);
            let (found, advice) = text.rsplit_once(": ").unwrap_or((&text, ""));
            match error {
                // For whoever asks; it may be right for the user that will serve.
                NotPrivate::Foreign { .. } | NotPrivate::Look { .. } => {
                    Finding::warning(what, found, advice)
                }
                NotPrivate::Planted { .. }
                | NotPrivate::Writable { .. }
                | NotPrivate::Open { .. }
                | NotPrivate::NoFile { .. }
                | NotPrivate::Link { .. } => Finding::blocker(what, found, advice),
            }
        }
    }
}

fn release() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

fn io_uring_disabled() -> String {
    fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn memlock_limit() -> Option<u64> {
    getrlimit(Resource::Memlock).current
}

fn address_space_limit() -> Option<u64> {
    getrlimit(Resource::As).current
}

/// Raises the soft limit of open files to the hard one; the limit now in force.
fn raise_open_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

fn cores_available() -> u64 {
    std::thread::available_parallelism().map_or(1, |count| count.get() as u64)
}

fn max_map_count() -> Option<u64> {
    fs::read_to_string("/proc/sys/vm/max_map_count")
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// The directory itself, or the nearest one above it that exists already.
fn existing(path: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(path).ok()?;
    absolute
        .ancestors()
        .find(|ancestor| ancestor.exists())
        .map(Path::to_owned)
}

/// Whether something can be put into it, or into where it would be made.
fn writable(path: &Path) -> Result<(), Errno> {
    match existing(path) {
        Some(there) => access(&there, Access::WRITE_OK | Access::EXEC_OK),
        // What cannot be found out is told elsewhere.
        None => Ok(()),
    }
}

fn filesystem_of(path: &Path) -> Option<u64> {
    let found = rustix::fs::statfs(&existing(path)?).ok()?;
    // Signed on some targets, and then sign-extended: 32 bits have all magics.
    Some(u64::from(found.f_type as u32))
}

fn free_bytes(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(&existing(path)?).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

/// A size with at most one digit behind the point.
fn bytes(count: u64) -> String {
    let exact = crate::config::Bytes(count).write();
    if exact.find(' ').is_some_and(|digits| digits <= 3) {
        return exact;
    }
    let units = [
        ("TiB", 1u64 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
    ];
    match units.iter().find(|(_, scale)| count >= *scale) {
        Some((unit, scale)) => format!("{:.1} {unit}", count as f64 / *scale as f64),
        None => exact,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_compared_by_number() {
        let weight = |release| kernel(release).weight;
        assert_eq!(weight("6.18.5"), Weight::Good);
        assert_eq!(weight("5.8.0-rc1"), Weight::Good);
        assert_eq!(weight("5.10.0-28-amd64"), Weight::Good);
        assert_eq!(weight("5.7.19"), Weight::Blocker);
        assert_eq!(weight("4.19.0"), Weight::Blocker);
        assert_eq!(weight("custom"), Weight::Warning);
    }

    #[test]
    fn a_network_file_system_needs_consent() {
        assert_eq!(filesystem(Some(0x6969), false).weight, Weight::Blocker);
        assert_eq!(filesystem(Some(0x6969), true).weight, Weight::Warning);
        assert_eq!(filesystem(Some(0x0102_1997), false).weight, Weight::Blocker);
        assert_eq!(filesystem(Some(0xEF53), false).weight, Weight::Good);
        assert_eq!(filesystem(Some(0x0102_1994), false).weight, Weight::Warning);
        assert_eq!(filesystem(Some(7), false).weight, Weight::Warning);
    }

    #[test]
    fn address_space_is_a_sum_with_named_terms() {
        let fits = address_space(2, 64 << 30, 1000, 6 << 30, None);
        assert_eq!(fits.weight, Weight::Good);
        assert_eq!(
            fits.found,
            "6.0 TiB = 2 shards x 64 GiB + 1000 instances x 6 GiB"
        );
        assert_eq!(
            address_space(64, 2 << 40, 1000, 6 << 30, None).weight,
            Weight::Blocker
        );
        assert_eq!(
            address_space(u64::MAX, 2, 1, 1, None).weight,
            Weight::Blocker
        );
        assert_eq!(
            address_space(2, 64 << 30, 1000, 6 << 30, Some(1 << 40)).weight,
            Weight::Blocker
        );
    }

    #[test]
    fn open_files_are_enough_or_few_or_too_few() {
        let weight = |limit| open_files(Some(limit), 2, 4096).weight;
        let least = 24 + 2 * (16 + 8);
        assert_eq!(weight(least - 1), Weight::Blocker);
        assert_eq!(weight(least), Weight::Warning);
        assert_eq!(weight(256 + 2 * (64 + 4096)), Weight::Good);
        assert_eq!(open_files(None, 2, 4096).weight, Weight::Good);
        // No more than may come at all.
        assert_eq!(open_files(Some(24 + 17), 1, 1).weight, Weight::Warning);
        let found = open_files(Some(32), 1, 4096).found;
        assert!(
            found.starts_with("32 where 1 shards need at least 48"),
            "{found}"
        );
    }

    #[test]
    fn an_executor_that_does_not_start_says_why() {
        assert!(
            executor(Err("no".into()), "2")
                .advice
                .contains("sysctl kernel.io_uring_disabled=0")
        );
        assert!(executor(Err("no".into()), "0").advice.contains("seccomp"));
        assert_eq!(executor(Ok(()), "0").weight, Weight::Good);
    }

    #[test]
    fn whatever_is_not_good_comes_with_advice() {
        for finding in [
            kernel("4.0"),
            memlock(Some(1), 1),
            open_files(Some(1), 2, 10),
            open_files(Some(300), 2, 1000),
            cores(1, 2),
            mappings(Some(1), 1),
            disk(Some(1)),
            disk(Some(DISK_LEAST)),
            disk(None),
            filesystem(None, false),
        ] {
            assert_ne!(finding.weight, Weight::Good);
            assert!(!finding.advice.is_empty(), "{}", finding.what);
        }
    }

    #[test]
    fn a_full_disk_can_still_be_read() {
        assert_eq!(disk(Some(0)).weight, Weight::Warning);
    }

    #[test]
    fn a_directory_that_cannot_be_written_keeps_the_server_from_starting() {
        let absent = || {
            let source = std::io::ErrorKind::NotFound.into();
            let path = PathBuf::from("/data");
            Err(NotPrivate::Look { path, source })
        };
        let weight =
            |checked, writable| data_dir(checked, writable, None, Path::new("/data")).weight;
        assert_eq!(weight(Ok(()), Ok(())), Weight::Good);
        assert_eq!(weight(absent(), Ok(())), Weight::Good);
        assert_eq!(weight(Ok(()), Err(Errno::ROFS)), Weight::Blocker);
        assert_eq!(weight(absent(), Err(Errno::ROFS)), Weight::Blocker);
        assert_eq!(weight(Ok(()), Err(Errno::ACCESS)), Weight::Blocker);
        assert_eq!(weight(absent(), Err(Errno::ACCESS)), Weight::Warning);
    }

    /// The checks themselves must work on the machine that runs the tests.
    #[test]
    fn this_machine_can_be_examined() {
        let config = crate::config::Layers::default().resolve().unwrap().0;
        let dir = tempfile::tempdir().unwrap();
        let findings = examine(&Demands {
            config: &config,
            data_dir: &dir.path().join("not/yet/there"),
            shards: 1,
            slot_bytes: 6 << 30,
            try_executor: || Ok(()),
        });
        assert!(
            findings
                .iter()
                .all(|finding| finding.weight != Weight::Blocker),
            "{findings:?}"
        );
        assert!(
            findings
                .iter()
                .all(|finding| finding.found != "cannot be found out")
        );
    }
}
