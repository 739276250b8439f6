//! Nodes that have one context together: their keys, and how each begins.

use std::error::Error;

use corelet_store::{
    ApplicationId, CallEffects, Change, ContextId, ContextSlot, Hlc, Ledger, NewContext, NodeId,
    Op, Sealer,
};
use ed25519_dalek::{Signer, SigningKey};

/// The context that all of them have.
pub(crate) const CONTEXT: ContextId = ContextId::from_bytes([5; 32]);

/// What a node signs with.
pub(crate) struct Key(SigningKey);

impl Key {
    pub(crate) fn new(number: u8) -> Key {
        Key(SigningKey::from_bytes(&[number; 32]))
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

/// Makes the context, empty, with the earliest stamp.
pub(crate) fn create(ledger: &Ledger, author: NodeId) -> Result<ContextSlot, Box<dyn Error>> {
    let new = NewContext {
        id: CONTEXT,
        name: None,
        application: ApplicationId::from_bytes([2; 32]),
        created: Hlc::from_bits(1 << 12),
        call: effects(author, ContextSlot::UNASSIGNED, stamp(1), vec![]),
    };
    let mut verdicts = ledger.commit(vec![Change::CreateContext(new)])?;
    Ok(verdicts.remove(0)?.slot())
}

/// A call that has seen everything that is there.
pub(crate) fn effects(author: NodeId, slot: ContextSlot, hlc: Hlc, ops: Vec<Op>) -> CallEffects {
    CallEffects {
        slot,
        ops,
        ..CallEffects::new(CONTEXT, author, hlc)
    }
}

/// The stamp of a microsecond.
pub(crate) fn stamp(micros: u64) -> Hlc {
    Hlc::from_bits(micros << 12)
}
