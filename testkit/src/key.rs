//! The key of a node of a test: known to everybody, and the same in each run.

use corelet_store::{ContextId, DeltaId, NodeId, Sealed, Sealer, make_seals};
use ed25519_dalek::{Signer, SigningKey};

/// A node's key.
pub(crate) struct Key(SigningKey);

impl Key {
    pub(crate) fn new(number: usize) -> Key {
        let secret = blake3::hash(&(number as u64).to_le_bytes());
        Key(SigningKey::from_bytes(secret.as_bytes()))
    }

    /// The seal on a delta of this node, which vouches for those below it as well.
    pub(crate) fn seal(&self, context: ContextId, delta: DeltaId) -> Sealed {
        let seal = make_seals(self, &[(context, delta)]).remove(0);
        let checked = seal.check(context, delta);
        checked.expect("the seal was made of this delta")
    }
}

impl Sealer for Key {
    fn node_id(&self) -> NodeId {
        NodeId::from_bytes(self.0.verifying_key().to_bytes())
    }

    fn sign_delta(&self, message: &[u8]) -> [u8; 64] {
        let signed = [b"corelet/v1/delta\0", message].concat();
        self.0.sign(&signed).to_bytes()
    }
}
