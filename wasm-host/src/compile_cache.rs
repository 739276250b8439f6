//! Compiled modules on disk, between runs of the process.
//!
//! A compiled module is machine code that the engine will trust, so a file is
//! used only if a keyed blake3 digest over all of it verifies with the key of
//! this node, and if it was made by the same engine, for the same component,
//! under the same limits of shape. Everything else about a file is foreign:
//! damaged, forged and outdated ones are ignored, counted and replaced.
//!
//! No decision about what to compile here (see `host.rs`). Called from compile
//! threads; blocking.

#![expect(
    clippy::disallowed_types,
    reason = "shared by compile threads; no shard loads"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::SystemTime;

use wasmtime::Engine;

use crate::engine;
use crate::limits::Limits;
use crate::module::ModuleId;

/// Counts up whenever the meaning of the header or of what we compile changes.
const FORMAT_VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"CORELETM";
/// magic, version, payload bytes, engine, module id, digest
const HEADER_BYTES: usize = 8 + 4 + 8 + 32 + 32 + DIGEST_BYTES;
const DIGEST_BYTES: usize = 32;
const EXTENSION: &str = "compiled";
/// A file that is being written, or was when the process died.
const TEMPORARY: &str = "writing";

pub(crate) struct CompileCache {
    dir: PathBuf,
    key: [u8; 32],
    /// What the engine and the limits that a module was checked against when it
    /// was compiled have to say about a file.
    engine: [u8; 32],
    bytes_max: u64,
    /// One writer at a time, so that two do not both think there is room.
    writing: Mutex<u64>,
    /// What the last file was read into, for the next one: fresh memory would
    /// be a fifth of a cold start.
    reading: Mutex<Vec<u8>>,
}

/// What was on disk for a module.
pub(crate) enum Found<'a> {
    /// Machine code that this node made with this engine.
    Verified(Code<'a>),
    Missing,
    /// A file that must not be used.
    Rejected(&'static str),
}

/// A file that was verified. (Moving the code to the front of its buffer would
/// cost as much as reading it.)
pub(crate) struct Code<'a> {
    file: Vec<u8>,
    reading: &'a Mutex<Vec<u8>>,
}

/// The largest buffer that is kept for the next file.
const KEPT_BYTES_MAX: usize = 8 << 20;

impl Drop for Code<'_> {
    fn drop(&mut self) {
        let mut file = std::mem::take(&mut self.file);
        if file.capacity() <= KEPT_BYTES_MAX {
            file.clear();
            *lock(self.reading) = file;
        }
    }
}

impl Code<'_> {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.file[HEADER_BYTES..]
    }
}

impl CompileCache {
    pub(crate) fn open(
        dir: &Path,
        key: [u8; 32],
        engine: &Engine,
        limits: &Limits,
    ) -> io::Result<CompileCache> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)?;
        Ok(CompileCache {
            dir: dir.to_owned(),
            key,
            engine: engine::digest(engine, &limits.of_shape()),
            bytes_max: limits.cache_bytes_max,
            writing: Mutex::new(0),
            reading: Mutex::default(),
        })
    }

    /// Reads the file of a module, and verifies it.
    pub(crate) fn find(&self, id: ModuleId) -> Found<'_> {
        let mut file = match File::open(self.path(id)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Missing,
            Err(_) => return Found::Rejected("it cannot be read"),
        };
        let mut code = Code {
            file: std::mem::take(&mut lock(&self.reading)),
            reading: &self.reading,
        };
        if file.read_to_end(&mut code.file).is_err() {
            return Found::Rejected("it cannot be read");
        }
        match self.verify(id, &code.file) {
            Ok(()) => {
                // What was used last is evicted last. A hint, no more.
                #[expect(
                    clippy::disallowed_methods,
                    reason = "the age of a file, as others see it"
                )]
                let _ = file.set_modified(SystemTime::now());
                Found::Verified(code)
            }
            Err(why) => Found::Rejected(why),
        }
    }

    fn verify(&self, id: ModuleId, file: &[u8]) -> Result<(), &'static str> {
        if file.len() < HEADER_BYTES {
            return Err("it is too short");
        }
        let (header, code) = file.split_at(HEADER_BYTES);
        let (fields, digest) = header.split_at(HEADER_BYTES - DIGEST_BYTES);
        let expected = self.header(id, code.len() as u64);
        if fields[..12] != expected[..12] {
            return Err("it has another format");
        }
        if fields != expected {
            return Err("it was made by another engine, for another module, or is cut off");
        }
        let digest: [u8; DIGEST_BYTES] = digest.try_into().map_err(|_| "it is too short")?;
        // Comparing hashes takes the same time whatever they are.
        if self.digest(fields, code) != digest {
            return Err("it was changed, or made with another key");
        }
        Ok(())
    }

    /// Writes the file of a module, whole or not at all, and makes room for
    /// it. Returns how many older files had to go.
    pub(crate) fn store(&self, id: ModuleId, code: &[u8]) -> io::Result<u64> {
        let mut writing = lock(&self.writing);
        *writing += 1;
        let bytes = (HEADER_BYTES + code.len()) as u64;
        if bytes > self.bytes_max {
            return Ok(0);
        }
        let fields = self.header(id, code.len() as u64);
        let digest = self.digest(&fields, code);
        let temporary = self
            .dir
            .join(format!("{id}.{}.{writing}.{TEMPORARY}", std::process::id()));
        let written = (|| {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&temporary)?;
            file.write_all(&fields)?;
            file.write_all(digest.as_bytes())?;
            file.write_all(code)?;
            // Not flushed to disk: after a power cut the digest tells.
            fs::rename(&temporary, self.path(id))
        })();
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written?;
        self.evict(id)
    }

    /// Removes the least recently used of our files, but `newest`, until what
    /// is left fits into the bound. Files of other names are not ours to touch.
    fn evict(&self, newest: ModuleId) -> io::Result<u64> {
        let newest = self.path(newest);
        let mut files = Vec::new();
        let mut total = 0;
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let path = entry.path();
            let ours = path
                .extension()
                .is_some_and(|end| end == EXTENSION || end == TEMPORARY);
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if !ours || !metadata.is_file() {
                continue;
            }
            total += metadata.len();
            if path != newest {
                files.push((metadata.modified()?, metadata.len(), path));
            }
        }
        files.sort();
        let mut removed = 0;
        for (_, bytes, path) in files {
            if total <= self.bytes_max {
                break;
            }
            fs::remove_file(&path)?;
            total -= bytes;
            removed += 1;
        }
        Ok(removed)
    }

    fn header(&self, id: ModuleId, code_bytes: u64) -> Vec<u8> {
        let mut fields = Vec::with_capacity(HEADER_BYTES);
        fields.extend_from_slice(&MAGIC);
        fields.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        fields.extend_from_slice(&code_bytes.to_le_bytes());
        fields.extend_from_slice(&self.engine);
        fields.extend_from_slice(id.as_bytes());
        fields
    }

    fn digest(&self, fields: &[u8], code: &[u8]) -> blake3::Hash {
        blake3::Hasher::new_keyed(&self.key)
            .update(fields)
            .update(code)
            .finalize()
    }

    fn path(&self, id: ModuleId) -> PathBuf {
        self.dir.join(format!("{id}.{EXTENSION}"))
    }
}

/// A panic elsewhere leaves a number or a buffer that is still one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use wasmtime::{Config, ModuleVersionStrategy};

    use super::*;

    fn opened(dir: &Path, version: &str, limits: &Limits) -> CompileCache {
        let mut config = Config::new();
        config
            .module_version(ModuleVersionStrategy::Custom(version.into()))
            .unwrap();
        let engine = Engine::new(&config).unwrap();
        CompileCache::open(dir, [1; 32], &engine, limits).unwrap()
    }

    #[test]
    fn what_another_version_of_the_engine_made_is_not_verified() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits::default();
        let id = ModuleId::of(b"component");
        let cache = opened(dir.path(), "48.0.8", &limits);
        assert!(matches!(cache.find(id), Found::Missing));
        cache.store(id, b"machine code").unwrap();
        match cache.find(id) {
            Found::Verified(code) => assert_eq!(code.bytes(), b"machine code"),
            _ => panic!("it was written a moment ago"),
        }
        let newer = opened(dir.path(), "48.0.9", &limits);
        assert!(matches!(newer.find(id), Found::Rejected(why) if why.contains("another engine")));
        newer.store(id, b"better machine code").unwrap();
        assert!(matches!(newer.find(id), Found::Verified(_)));
        assert!(matches!(cache.find(id), Found::Rejected(_)));
    }

    #[test]
    fn code_that_is_larger_than_the_cache_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits {
            cache_bytes_max: 200,
            ..Limits::default()
        };
        let cache = opened(dir.path(), "1", &limits);
        let id = ModuleId::of(b"component");
        assert_eq!(cache.store(id, &[0; 100]).unwrap(), 0);
        assert!(matches!(cache.find(id), Found::Missing));
    }
}
