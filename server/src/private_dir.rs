//! Who else could have written what is in a data directory: its owner and mode,
//! and those of what is read from it, looked at before anything is believed. What
//! is in the files is the business of whoever opens them (`run_file.rs`, `auth.rs`).
//!
//! A client opens the directory once and finds everything in it from there. Nobody
//! but its owner can put something else into it then, whoever may move it about
//! in the directories above. A server only looks: it uses the directory by its
//! path, and trusts whoever can rename what is above it (SECURITY.md).

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::geteuid;

/// What a data directory has in it that only its owner may even look into.
const SECLUDED: [&str; 4] = ["shards", "blobs", "cache", "keys"];

const OTHERS_WRITE: u32 = 0o022;
const OTHERS_AT_ALL: u32 = 0o077;

/// Why what is on disk is not believed.
#[derive(Debug, thiserror::Error)]
pub enum NotPrivate {
    /// Another user's, who can change it at any time.
    #[error(
        "{path} belongs to user {owner} and this process runs as user {us}: run it as that user, or choose another directory with --data-dir",
        path = path.display()
    )]
    Foreign {
        /// The directory or file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who asks.
        us: u32,
    },
    /// Not of the user that the directory around it belongs to.
    #[error(
        "{path} belongs to user {owner} and its directory to user {around}: somebody else has put it there; remove it",
        path = path.display()
    )]
    Planted {
        /// The directory or file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The owner of the data directory.
        around: u32,
    },
    /// Others may write it.
    #[error(
        "{path} can be written by others (mode {mode:o}), so that nothing in it can be believed: see that all is as you left it, then run chmod go-w {path}",
        path = path.display()
    )]
    Writable {
        /// The directory or file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others may look into it.
    #[error(
        "{path} is open to others (mode {mode:o}): run chmod go-rwx {path}",
        path = path.display()
    )]
    Open {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Something else than what is kept there.
    #[error("{path} is not a regular file: remove it", path = path.display())]
    NoFile {
        /// What was found.
        path: PathBuf,
    },
    /// A link, which could lead anywhere.
    #[error("{path} is a link: put what it leads to in its place", path = path.display())]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// It cannot be looked at.
    #[error("looking at {path}", path = path.display())]
    Look {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl NotPrivate {
    /// Whether there was nothing to look at.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self, NotPrivate::Look { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// A directory that only its owner can write: this process's user, or root; or
/// anybody, to root.
#[derive(Debug)]
pub(crate) struct PrivateDir {
    path: PathBuf,
    dir: File,
    owner: u32,
}

impl PrivateDir {
    /// Opens a data directory to read in it.
    pub(crate) fn open(path: &Path) -> Result<PrivateDir, NotPrivate> {
        let (dir, owner, mode) = look(CWD, path, path, OFlags::DIRECTORY)?;
        let us = geteuid().as_raw();
        if !may_be_believed(owner, us) {
            return Err(NotPrivate::Foreign {
                path: path.to_owned(),
                owner,
                us,
            });
        }
        unwritable(path, mode)?;
        Ok(PrivateDir {
            path: path.to_owned(),
            dir,
            owner,
        })
    }

    /// The directory `name` in it. Not by a link either.
    pub(crate) fn dir(&self, name: &str) -> Result<PrivateDir, NotPrivate> {
        let path = self.path.join(name);
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let (dir, owner, mode) = look(&self.dir, name.as_ref(), &path, flags)?;
        self.same_owner(&path, owner)?;
        unwritable(&path, mode)?;
        Ok(PrivateDir { path, dir, owner })
    }

    /// The regular file `name` in it, to be read. Not by a link, which could lead
    /// to what its maker cannot read.
    pub(crate) fn file(&self, name: &str) -> Result<File, NotPrivate> {
        let path = self.path.join(name);
        // A pipe in its place must not keep us waiting.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let (file, owner, mode) = look(&self.dir, name.as_ref(), &path, flags)?;
        self.same_owner(&path, owner)?;
        unwritable(&path, mode)?;
        match file.metadata() {
            Ok(metadata) if metadata.is_file() => Ok(file),
            Ok(_) => Err(NotPrivate::NoFile { path }),
            Err(source) => Err(NotPrivate::Look { path, source }),
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its owner may know the secrets of this process's user.
    pub(crate) fn is_ours(&self) -> bool {
        self.owner == 0 || self.owner == geteuid().as_raw()
    }

    /// What root has put into our own directory is believed. In another user's,
    /// what belongs to root may be there by a link, and is not for that user to use.
    fn same_owner(&self, path: &Path, owner: u32) -> Result<(), NotPrivate> {
        if belongs(owner, self.owner, geteuid().as_raw()) {
            return Ok(());
        }
        Err(NotPrivate::Planted {
            path: path.to_owned(),
            owner,
            around: self.owner,
        })
    }
}

/// What a server asks of its data directory before it opens it: that it is its
/// user's own, that nobody else can write it, and that nobody else can see what
/// is in its parts. Parts that are not there yet are made so.
pub(crate) fn check_own(data_dir: &Path) -> Result<(), NotPrivate> {
    let dir = PrivateDir::open(data_dir)?;
    let us = geteuid().as_raw();
    if dir.owner != us {
        return Err(NotPrivate::Foreign {
            path: data_dir.to_owned(),
            owner: dir.owner,
            us,
        });
    }
    for name in SECLUDED {
        let path = data_dir.join(name);
        let flags = match name {
            // As clients look, who follow no link.
            "keys" => OFlags::DIRECTORY | OFlags::NOFOLLOW,
            _ => OFlags::DIRECTORY,
        };
        match look(&dir.dir, name.as_ref(), &path, flags) {
            Ok((_, owner, mode)) => {
                dir.same_owner(&path, owner)?;
                unwritable(&path, mode)?;
                if mode & OTHERS_AT_ALL != 0 {
                    return Err(NotPrivate::Open { path, mode });
                }
            }
            Err(error) if error.is_absence() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Root can do anything to us, and may look at what is anybody's: whose secrets
/// it may send there is another question ([`PrivateDir::is_ours`]).
fn may_be_believed(owner: u32, us: u32) -> bool {
    owner == us || owner == 0 || us == 0
}

/// Whether something of `owner` belongs into a directory of the user `around`.
fn belongs(owner: u32, around: u32, us: u32) -> bool {
    owner == around || (owner == 0 && around == us)
}

/// An access list that lets others write shows in the group's bits, too (acl(5)).
fn unwritable(path: &Path, mode: u32) -> Result<(), NotPrivate> {
    if mode & OTHERS_WRITE == 0 {
        return Ok(());
    }
    Err(NotPrivate::Writable {
        path: path.to_owned(),
        mode,
    })
}

/// Opens `name`, seen from `around`, and tells its owner and permission bits.
fn look(
    around: impl std::os::fd::AsFd,
    name: &Path,
    path: &Path,
    flags: OFlags,
) -> Result<(File, u32, u32), NotPrivate> {
    let look = || -> io::Result<(File, u32, u32)> {
        let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC;
        let file = File::from(openat(around, name, flags, Mode::empty())?);
        let metadata = file.metadata()?;
        Ok((file, metadata.uid(), metadata.mode() & 0o7777))
    };
    look().map_err(|source| {
        let path = path.to_owned();
        let follows = !flags.contains(OFlags::NOFOLLOW);
        if !follows && std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink()) {
            return NotPrivate::Link { path };
        }
        NotPrivate::Look { path, source }
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn only_root_looks_at_what_is_anothers() {
        assert!(may_be_believed(1000, 1000));
        assert!(may_be_believed(0, 1000));
        assert!(may_be_believed(1000, 0));
        assert!(!may_be_believed(1001, 1000));
    }

    #[test]
    fn what_is_root_s_belongs_to_our_own_directory_and_to_no_other_user_s() {
        assert!(belongs(1000, 1000, 1000));
        assert!(belongs(0, 1000, 1000));
        assert!(!belongs(0, 1000, 0));
        assert!(belongs(1000, 1000, 0));
        assert!(!belongs(1000, 0, 1000));
    }

    #[test]
    fn a_data_directory_that_others_can_write_is_refused_with_what_to_do() {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        assert!(check_own(&data).unwrap_err().is_absence());
        fs::create_dir_all(data.join("keys")).unwrap();
        set_mode(&data.join("keys"), 0o700);
        for (mode, refused) in [
            (0o700, false),
            (0o755, false),
            (0o770, true),
            (0o702, true),
            (0o1777, true),
        ] {
            set_mode(&data, mode);
            let found = check_own(&data);
            assert_eq!(found.is_err(), refused, "{mode:o}");
            if let Err(error) = found {
                let advice = format!("run chmod go-w {}", data.display());
                assert!(error.to_string().ends_with(&advice), "{error}");
            }
        }
        set_mode(&data, 0o755);
        set_mode(&data.join("keys"), 0o750);
        let error = check_own(&data).unwrap_err().to_string();
        assert!(
            error.ends_with(&format!("chmod go-rwx {}/keys", data.display())),
            "{error}"
        );
    }

    #[test]
    fn what_another_user_has_put_there_is_not_believed() {
        // Only root can give a file away.
        if geteuid().as_raw() != 0 {
            return;
        }
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        fs::write(&file, "").unwrap();
        let dir = PrivateDir::open(home.path()).unwrap();
        assert!(dir.is_ours());
        dir.file("file").unwrap();
        chown(&file, Some(1), None).unwrap();
        assert!(matches!(
            dir.file("file"),
            Err(NotPrivate::Planted {
                owner: 1,
                around: 0,
                ..
            })
        ));
        chown(home.path(), Some(1), None).unwrap();
        assert!(!PrivateDir::open(home.path()).unwrap().is_ours());
        assert!(matches!(
            check_own(home.path()),
            Err(NotPrivate::Foreign { owner: 1, .. })
        ));
    }

    #[test]
    fn links_and_pipes_are_no_files() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("file"), "").unwrap();
        symlink(home.path().join("file"), home.path().join("link")).unwrap();
        fs::create_dir(home.path().join("dir")).unwrap();
        let dir = PrivateDir::open(home.path()).unwrap();
        assert!(matches!(dir.file("link"), Err(NotPrivate::Link { .. })));
        assert!(matches!(dir.file("dir"), Err(NotPrivate::NoFile { .. })));
        assert!(dir.dir("file").is_err());
        symlink(home.path().join("dir"), home.path().join("to_dir")).unwrap();
        dir.dir("dir").unwrap();
        assert!(matches!(dir.dir("to_dir"), Err(NotPrivate::Link { .. })));
        symlink(home.path().join("dir"), home.path().join("keys")).unwrap();
        set_mode(home.path(), 0o755);
        assert!(matches!(
            check_own(home.path()),
            Err(NotPrivate::Link { .. })
        ));
    }
}
