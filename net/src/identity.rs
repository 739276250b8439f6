//! A node's Ed25519 key: made once, kept in one file that only its owner can
//! read, used to sign. Whom to trust is decided elsewhere.
//!
//! The key belongs to the whole process; it is loaded before the first shard
//! starts and never changes while the process lives.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use corelet_store::{NodeId, Sealer};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use crate::IdentityError;

/// The name of the key file inside the keys directory.
pub const KEY_FILE: &str = "node.key";

/// The secret half of an Ed25519 key.
const SECRET_BYTES: usize = 32;

/// What a signature is for. It is part of the signed bytes, so that a signature
/// made for one purpose is worthless for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Domain(&'static str);

impl Domain {
    /// A signed delta.
    pub const DELTA: Domain = Domain::new("delta");
    /// The proof of identity at the start of a link between nodes.
    pub const LINK: Domain = Domain::new("link");

    /// A purpose by its name. The name must not contain a zero byte: that byte
    /// ends it in the signed bytes. Checked when the constant is compiled.
    pub const fn new(name: &'static str) -> Domain {
        let bytes = name.as_bytes();
        assert!(!bytes.is_empty(), "a signature needs a purpose");
        let mut at = 0;
        while at < bytes.len() {
            assert!(bytes[at] != 0, "a zero byte ends the name");
            at += 1;
        }
        Domain(name)
    }

    /// The bytes that are really signed: no two pairs of purpose and message
    /// give the same, because the first zero byte ends the purpose.
    fn frame(self, message: &[u8]) -> Vec<u8> {
        const PREFIX: &[u8] = b"corelet/v1/";
        let mut framed = Vec::with_capacity(PREFIX.len() + self.0.len() + 1 + message.len());
        framed.extend_from_slice(PREFIX);
        framed.extend_from_slice(self.0.as_bytes());
        framed.push(0);
        framed.extend_from_slice(message);
        framed
    }
}

/// 64 bytes that prove who wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl Signature {
    /// A signature from a peer's bytes. Says nothing about its truth: see [`verify`].
    pub fn from_bytes(bytes: [u8; 64]) -> Signature {
        Signature(bytes)
    }

    /// The bytes to send.
    pub fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

/// This node's key.
pub struct Identity {
    key: SigningKey,
}

impl IdentityError {
    /// Whether there is no key, rather than a wrong one.
    pub fn is_absent(&self) -> bool {
        let IdentityError::Read { source, .. } = self else {
            return false;
        };
        source.kind() == io::ErrorKind::NotFound
    }
}

impl Identity {
    /// The key in `keys_dir`, made on first use. Fails when the file is
    /// damaged, readable by others, or cannot be written; never replaces one.
    pub fn load_or_create(keys_dir: &Path) -> Result<Identity, IdentityError> {
        let path = keys_dir.join(KEY_FILE);
        match File::open(&path) {
            Ok(file) => load(file, &path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(keys_dir, &path),
            Err(source) => Err(IdentityError::Read { path, source }),
        }
    }

    /// The key in `keys_dir`, which must be there. Changes nothing.
    pub fn load(keys_dir: &Path) -> Result<Identity, IdentityError> {
        let path = keys_dir.join(KEY_FILE);
        match File::open(&path) {
            Ok(file) => load(file, &path),
            Err(source) => Err(IdentityError::Read { path, source }),
        }
    }

    /// A key that lives only as long as this value.
    pub fn ephemeral() -> Result<Identity, IdentityError> {
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        getrandom::fill(secret.as_mut()).map_err(IdentityError::NoRandomness)?;
        Ok(Identity {
            key: SigningKey::from_bytes(&secret),
        })
    }

    /// The node's name everywhere: its public key.
    pub fn node_id(&self) -> NodeId {
        NodeId::from_bytes(self.key.verifying_key().to_bytes())
    }

    /// Signs `message` for one purpose.
    pub fn sign(&self, domain: Domain, message: &[u8]) -> Signature {
        Signature(self.key.sign(&domain.frame(message)).to_bytes())
    }
}

impl Sealer for Identity {
    fn node_id(&self) -> NodeId {
        Identity::node_id(self)
    }

    fn sign_delta(&self, message: &[u8]) -> [u8; 64] {
        *self.sign(Domain::DELTA, message).as_bytes()
    }
}

impl std::fmt::Debug for Identity {
    /// The public half only.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Identity").field(&self.node_id()).finish()
    }
}

/// Checks that `node` signed `message` for this purpose. Strict: weak keys and
/// second encodings of the same signature are refused, so all nodes agree on
/// what is valid.
pub fn verify(
    node: &NodeId,
    domain: Domain,
    message: &[u8],
    signature: &Signature,
) -> Result<(), IdentityError> {
    let key = VerifyingKey::from_bytes(node.as_bytes()).map_err(|_| IdentityError::BadSignature)?;
    let signature = ed25519_dalek::Signature::from_bytes(signature.as_bytes());
    key.verify_strict(&domain.frame(message), &signature)
        .map_err(|_| IdentityError::BadSignature)
}

fn load(mut file: File, path: &Path) -> Result<Identity, IdentityError> {
    let read = |source| IdentityError::Read {
        path: path.to_owned(),
        source,
    };
    let mode = file.metadata().map_err(read)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::TooOpen {
            path: path.to_owned(),
            mode,
        });
    }
    // One byte more than a key, so that a longer file is noticed and not cut.
    let mut bytes = Zeroizing::new([0; SECRET_BYTES + 1]);
    let found = read_up_to(&mut file, bytes.as_mut()).map_err(read)?;
    let malformed = IdentityError::Malformed {
        path: path.to_owned(),
        found,
        expected: SECRET_BYTES,
    };
    if found != SECRET_BYTES {
        return Err(malformed);
    }
    let secret: &[u8; SECRET_BYTES] = bytes[..SECRET_BYTES].try_into().map_err(|_| malformed)?;
    Ok(Identity {
        key: SigningKey::from_bytes(secret),
    })
}

/// Writes the key beside its place, flushes it, and only then links it there: a
/// crash leaves either no key or a whole one, and two starting processes never
/// overwrite each other's.
fn create(keys_dir: &Path, path: &Path) -> Result<Identity, IdentityError> {
    let identity = Identity::ephemeral()?;
    let partial = keys_dir.join(format!("{KEY_FILE}.{}.partial", std::process::id()));
    let secret = Zeroizing::new(identity.key.to_bytes());
    let written = (|| -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&partial)?;
        file.write_all(secret.as_ref())?;
        file.sync_all()?;
        fs::hard_link(&partial, path)?;
        File::open(keys_dir)?.sync_all()
    })();
    let _ = fs::remove_file(&partial);
    match written {
        Ok(()) => Ok(identity),
        // Another process was first: its key is the node's key.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let file = File::open(path).map_err(|source| IdentityError::Read {
                path: path.to_owned(),
                source,
            })?;
            load(file, path)
        }
        Err(source) => Err(IdentityError::Write {
            path: path.to_owned(),
            source,
        }),
    }
}

fn read_up_to(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use corelet_store::{ContextId, DeltaId, make_seals};

    use super::*;

    /// The store checks what this key has signed for it, and nothing that was for another purpose.
    #[test]
    fn what_a_node_seals_holds_for_the_store() {
        let identity = Identity::ephemeral().unwrap();
        let (context, delta) = (ContextId::random(), DeltaId::from_bytes([3; 32]));
        let seal = make_seals(&identity, &[(context, delta)]).remove(0);
        let sealed = seal.check(context, delta).unwrap();
        assert_eq!(sealed.author(), identity.node_id());

        struct ForLinks(Identity);
        impl Sealer for ForLinks {
            fn node_id(&self) -> NodeId {
                self.0.node_id()
            }
            fn sign_delta(&self, message: &[u8]) -> [u8; 64] {
                *self.0.sign(Domain::LINK, message).as_bytes()
            }
        }
        let seal = make_seals(&ForLinks(identity), &[(context, delta)]).remove(0);
        assert!(seal.check(context, delta).is_err());
    }

    #[test]
    fn a_key_is_made_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let first = Identity::load_or_create(dir.path()).unwrap();
        let second = Identity::load_or_create(dir.path()).unwrap();
        assert_eq!(first.node_id(), second.node_id());
        let mode = fs::metadata(dir.path().join(KEY_FILE)).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600);
        // Nothing but the key is left behind.
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        Identity::load_or_create(dir.path()).unwrap();
        let path = dir.path().join(KEY_FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(
            Identity::load_or_create(dir.path()),
            Err(IdentityError::TooOpen { mode: 0o644, .. })
        ));
    }

    #[test]
    fn a_key_of_another_length_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(KEY_FILE);
        for length in [0, 31, 33, 4096] {
            fs::write(&path, vec![7; length]).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(
                matches!(
                    Identity::load_or_create(dir.path()),
                    Err(IdentityError::Malformed { .. })
                ),
                "{length}"
            );
            assert_eq!(fs::read(&path).unwrap().len(), length);
        }
    }

    #[test]
    fn a_signature_holds_for_its_node_message_and_purpose_only() {
        let node = Identity::ephemeral().unwrap();
        let other = Identity::ephemeral().unwrap();
        let signature = node.sign(Domain::DELTA, b"message");
        assert!(verify(&node.node_id(), Domain::DELTA, b"message", &signature).is_ok());
        assert!(verify(&node.node_id(), Domain::DELTA, b"massage", &signature).is_err());
        assert!(verify(&node.node_id(), Domain::LINK, b"message", &signature).is_err());
        assert!(verify(&other.node_id(), Domain::DELTA, b"message", &signature).is_err());
        for bit in 0..512 {
            let mut bytes = *signature.as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let flipped = Signature::from_bytes(bytes);
            assert!(
                verify(&node.node_id(), Domain::DELTA, b"message", &flipped).is_err(),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn a_purpose_cannot_run_into_the_message() {
        const SHORT: Domain = Domain::new("a");
        const LONG: Domain = Domain::new("ab");
        assert_ne!(SHORT.frame(b"b\0x"), LONG.frame(b"x"));
        assert_ne!(SHORT.frame(b""), LONG.frame(b""));
    }

    /// The neutral point is a key under which forged signatures verify for any
    /// message, unless verification is strict.
    #[test]
    fn a_weak_key_proves_nothing() {
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        let node = NodeId::from_bytes(neutral);
        assert!(
            verify(
                &node,
                Domain::DELTA,
                b"anything",
                &Signature::from_bytes(signature)
            )
            .is_err()
        );
    }
}
