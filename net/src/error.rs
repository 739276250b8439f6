//! What can go wrong with a node's identity, as one enum. A decision the
//! caller can take is a variant; the texts say what to do.

use std::io;
use std::path::PathBuf;

/// Why a node has no identity, or a signature does not hold.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The key file could not be read.
    #[error("reading the node key {path}", path = path.display())]
    Read {
        /// The file that was read.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The key file could not be written.
    #[error("writing the node key {path}", path = path.display())]
    Write {
        /// The file that was written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The key file is not a key of ours.
    #[error(
        "{path} is not a node key ({found} bytes, expected {expected}): restore it from a backup, or remove it together with the data to become a new node",
        path = path.display()
    )]
    Malformed {
        /// The file that was read.
        path: PathBuf,
        /// How many bytes it holds.
        found: usize,
        /// How many a key file holds.
        expected: usize,
    },
    /// Others than the owner may read the key.
    #[error("{path} can be read by others (mode {mode:o}): run chmod 600 {path}", path = path.display())]
    TooOpen {
        /// The file that was read.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The system gave no randomness, so no key can be made.
    #[error("no randomness from the system to make a node key with: {0}")]
    NoRandomness(getrandom::Error),
    /// The signature was not made by this node over this message.
    #[error("the signature does not belong to this node and message")]
    BadSignature,
}
