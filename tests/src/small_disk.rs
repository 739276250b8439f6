//! A disk of some megabytes that can be filled: a file system in memory, mounted where only those
//! processes see it that are sent there, so that it takes no rights and leaves nothing behind.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const BALLAST: &str = "ballast";

/// Set to 1 by who knows that nothing can be mounted, and wants the tests all the same.
const WITHOUT_MOUNTS: &str = "CORELET_WITHOUT_MOUNTS";

/// Gone with the value.
pub struct SmallDisk {
    // Keeps the mount, until its input ends.
    holder: Child,
    home: tempfile::TempDir,
}

impl SmallDisk {
    /// Of so many bytes. None where nothing can be mounted and `CORELET_WITHOUT_MOUNTS=1` allows
    /// that; then it is said that nothing is tested.
    ///
    /// # Panics
    /// If nothing can be mounted and that is not allowed. If there is no `unshare`, or no
    /// directory for it.
    pub fn new(bytes: u64) -> Option<SmallDisk> {
        let home = tempfile::tempdir().expect("a directory to mount on");
        let mount = "mount -t tmpfs -o size=$1 corelet-test \"$2\" && echo mounted && exec cat";
        let mut holder = Command::new("unshare")
            .args([
                "--user",
                "--map-root-user",
                "--mount",
                "sh",
                "-c",
                mount,
                "sh",
            ])
            .arg(bytes.to_string())
            .arg(home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare, of util-linux");
        let mut word = [0; 8];
        let said = holder.stdout.as_mut().expect("it is piped");
        let is_mounted = said.read_exact(&mut word).is_ok();
        let disk = SmallDisk { holder, home };
        if is_mounted {
            return Some(disk);
        }
        let is_allowed = std::env::var(WITHOUT_MOUNTS).is_ok_and(|value| value == "1");
        assert!(
            is_allowed,
            "this system lets us mount nothing in a user namespace of our own, so there is no full disk to test with: `scripts/can-mount.sh` says what may help; {WITHOUT_MOUNTS}=1 passes over these tests"
        );
        eprintln!("SKIPPED: nothing can be mounted here, and {WITHOUT_MOUNTS}=1 allows that");
        None
    }

    /// Where it is, for processes that are [inside](Self::inside).
    pub fn path(&self) -> &Path {
        self.home.path()
    }

    /// What to put before a command, so that it sees the disk.
    pub fn inside(&self) -> [String; 5] {
        let target = format!("--target={}", self.holder.id());
        let [program, user, mount, keep] =
            ["nsenter", "--user", "--mount", "--preserve-credentials"].map(str::to_owned);
        [program, user, mount, keep, target]
    }

    /// A path on it as this process sees it.
    pub fn seen(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        let below = path.strip_prefix("/").expect("an absolute path");
        root.join(below)
    }

    /// Leaves no byte free.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn fill(&self) {
        let mut ballast = File::create(self.seen(&self.path().join(BALLAST))).expect("a file");
        let mut size = 1 << 20;
        while size > 0 {
            match ballast.write_all(&vec![1; size]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => size /= 2,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// What filled it is gone.
    ///
    /// # Panics
    /// If nothing did.
    pub fn empty(&self) {
        fs::remove_file(self.seen(&self.path().join(BALLAST))).expect("it was filled");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
