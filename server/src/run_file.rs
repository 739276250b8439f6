//! What a running server leaves in its data directory for clients on the same
//! machine: where it listens, and which process it is. Readable by its owner
//! only; removed when the server stops; a stale one is recognised.

use std::fs;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use corelet_store::{DataDir, write_atomically};
use serde::{Deserialize, Serialize};

use crate::private_dir::{NotPrivate, PrivateDir};

/// Its name in the data directory.
const RUN_FILE: &str = "server.json";
/// Larger files are not ours.
const BYTES_MAX: u64 = 64 << 10;

/// A server that was running when it wrote this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunFile {
    /// Where to reach it from this machine.
    pub url: String,
    /// Its process.
    pub pid: u32,
    /// When that process started, in the kernel's ticks since boot: tells it from a
    /// later process with the same number.
    pub started_ticks: u64,
    /// Its version.
    pub version: String,
}

/// Why there is no telling.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunFileError {
    /// Others could have written it.
    #[error(transparent)]
    NotPrivate(#[from] NotPrivate),
    /// It cannot be read, or is something else.
    #[error(transparent)]
    Unreadable(#[from] io::Error),
}

/// What there is to know about a server of this data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// It runs.
    Running(RunFile),
    /// It ran, and did not stop in order.
    Stale(RunFile),
    /// No server has left anything.
    Nothing,
}

impl RunFile {
    /// This process, listening on `address`.
    pub(crate) fn of_this_process(address: SocketAddr) -> RunFile {
        let pid = std::process::id();
        RunFile {
            url: format!("http://{}", reachable(address)),
            pid,
            started_ticks: started_ticks(pid).unwrap_or(0),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Leaves it in the data directory until the guard is dropped.
    pub(crate) fn leave(&self, data: &DataDir) -> Result<LeftBehind, corelet_store::StoreError> {
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        let path = data.run_file();
        write_atomically(&path, &text).or_else(|_| {
            // A full disk has no room for two. The one that is there is of a server that has ended.
            let _ = fs::remove_file(&path);
            write_atomically(&path, &text)
        })?;
        Ok(LeftBehind { path })
    }

    /// Looks for a server of the data directory. What others could have written
    /// is not read: a client sends its token where this says.
    pub(crate) fn find(data: &PrivateDir) -> Result<Found, RunFileError> {
        let file = match data.file(RUN_FILE) {
            Err(error) if error.is_absence() => return Ok(Found::Nothing),
            opened => opened?,
        };
        let mut text = Vec::new();
        file.take(BYTES_MAX + 1).read_to_end(&mut text)?;
        if text.len() as u64 > BYTES_MAX {
            return Err(io::Error::other("the file is too large to be a server's").into());
        }
        let found: RunFile = serde_json::from_slice(&text).map_err(io::Error::other)?;
        let alive = started_ticks(found.pid) == Some(found.started_ticks);
        Ok(if alive {
            Found::Running(found)
        } else {
            Found::Stale(found)
        })
    }
}

/// Removes the file when the server is done.
#[derive(Debug)]
pub(crate) struct LeftBehind {
    path: PathBuf,
}

impl Drop for LeftBehind {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the server's address");
        }
    }
}

/// A server that listens on every address is reached by loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Field 22 of /proc/PID/stat. The second field is the program's name in
/// parentheses and may hold anything, so counting begins behind its end.
fn started_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    fn find(dir: &Path) -> Result<Found, RunFileError> {
        RunFile::find(&PrivateDir::open(dir)?)
    }

    #[test]
    fn a_running_server_is_told_from_a_stale_one() {
        let dir = tempfile::tempdir().unwrap();
        let find = || find(dir.path());
        assert_eq!(find().unwrap(), Found::Nothing);
        let ours = RunFile::of_this_process("0.0.0.0:7700".parse().unwrap());
        assert_eq!(ours.url, "http://127.0.0.1:7700");
        let path = DataDir::run_file_in(dir.path());
        assert_eq!(path, dir.path().join(RUN_FILE));
        let write = |file: &RunFile| {
            write_atomically(&path, &serde_json::to_vec(file).unwrap()).unwrap();
        };
        write(&ours);
        assert_eq!(find().unwrap(), Found::Running(ours.clone()));
        // The same process number, but of a process that started at another time.
        let other = RunFile {
            started_ticks: ours.started_ticks + 1,
            ..ours
        };
        write(&other);
        assert_eq!(find().unwrap(), Found::Stale(other));
        fs::write(&path, "nonsense").unwrap();
        assert!(matches!(find(), Err(RunFileError::Unreadable(_))));
    }

    #[test]
    fn an_address_that_others_could_have_written_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = DataDir::run_file_in(dir.path());
        let ours = RunFile::of_this_process("127.0.0.1:7700".parse().unwrap());
        write_atomically(&path, &serde_json::to_vec(&ours).unwrap()).unwrap();
        let mode = |path: &Path, mode: u32| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        for bits in [0o660, 0o602] {
            mode(&path, bits);
            let refused = find(dir.path());
            assert!(
                matches!(
                    refused,
                    Err(RunFileError::NotPrivate(NotPrivate::Writable { .. }))
                ),
                "{bits:o}: {refused:?}"
            );
        }
        mode(&path, 0o600);
        mode(dir.path(), 0o777);
        assert!(matches!(
            find(dir.path()),
            Err(RunFileError::NotPrivate(NotPrivate::Writable { .. }))
        ));
    }
}
