//! Nodes with keys, for tests: honest seals, and deltas that say whatever a liar wants.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;
use corelet_store::{
    Birth, ContextId, DeltaId, DeltaView, Hlc, NodeId, Sealed, Sealer, Space, VouchedDelta,
    make_seals, vouch,
};
use ed25519_dalek::{Signer, SigningKey};

/// A node's key.
pub(crate) struct Key(SigningKey);

impl Key {
    pub(crate) fn new(number: usize) -> Key {
        let secret = blake3::hash(&number.to_le_bytes());
        Key(SigningKey::from_bytes(secret.as_bytes()))
    }

    pub(crate) fn seal(&self, context: ContextId, delta: DeltaId) -> Sealed {
        let seal = make_seals(self, &[(context, delta)]).remove(0);
        seal.check(context, delta).unwrap()
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

/// Keys of the nodes 0 to 49.
pub(crate) fn keys() -> &'static BTreeMap<NodeId, Key> {
    static KEYS: LazyLock<BTreeMap<NodeId, Key>> = LazyLock::new(|| {
        let keys = (0..50).map(Key::new);
        keys.map(|key| (key.node_id(), key)).collect()
    });
    &KEYS
}

/// The seal of each author on its newest of these deltas.
pub(crate) fn seals(deltas: &[Bytes]) -> Vec<Sealed> {
    let keys = keys();
    let mut newest: BTreeMap<NodeId, (Hlc, ContextId, DeltaId)> = BTreeMap::new();
    for canonical in deltas {
        let delta = DeltaView::parse(canonical).unwrap();
        let this = (delta.hlc(), delta.context(), delta.id());
        let known = newest.entry(delta.author()).or_insert(this);
        *known = this.max(*known);
    }
    let seal = |(author, (_, context, delta))| keys[&author].seal(context, delta);
    newest.into_iter().map(seal).collect()
}

/// The delta, sealed by its author.
pub(crate) fn vouched(canonical: &Bytes) -> VouchedDelta {
    let delta = DeltaView::parse(canonical).unwrap();
    let sealed = keys()[&delta.author()].seal(delta.context(), delta.id());
    let all = vouch(delta.context(), [canonical.clone()], [sealed]);
    all.unwrap().remove(0)
}

/// All of a log, oldest first, by a seal of each author on its newest.
pub(crate) fn vouched_log(log: Vec<Bytes>) -> Vec<VouchedDelta> {
    let Some(first) = log.first() else {
        return Vec::new();
    };
    let context = DeltaView::parse(first).unwrap().context();
    let (count, seals) = (log.len(), seals(&log));
    let all = vouch(context, log, seals).unwrap();
    assert_eq!(all.len(), count);
    all
}

/// A write as a liar may have it.
pub(crate) struct Lie {
    pub(crate) space: Space,
    pub(crate) key: Vec<u8>,
    pub(crate) removes_first: bool,
    pub(crate) write: LiedWrite,
}

pub(crate) enum LiedWrite {
    Set(Vec<u8>),
    Add {
        amount: i64,
        is_new_cell: bool,
    },
    Insert,
    WriteOnce(Vec<u8>),
    Edit {
        is_list: bool,
        births: Vec<Birth>,
        /// A stamp for each author whom the update names.
        seen: Vec<u64>,
        update: Vec<u8>,
    },
    Remove,
}

/// The canonical bytes of a delta that nobody has worked out. The form is that of
/// `store/src/delta.rs`.
pub(crate) fn forge(
    context: ContextId,
    author: NodeId,
    hlc: u64,
    parents: &[DeltaId],
    lies: &BTreeMap<(u8, Vec<u8>), Lie>,
    root: [u8; 32],
) -> Bytes {
    let mut parents = parents.to_vec();
    parents.sort();
    parents.dedup();
    let mut out = b"CLD2".to_vec();
    out.extend_from_slice(context.as_bytes());
    out.extend_from_slice(author.as_bytes());
    out.extend_from_slice(&hlc.to_le_bytes());
    out.extend_from_slice(&(parents.len() as u16).to_le_bytes());
    for parent in parents {
        out.extend_from_slice(parent.as_bytes());
    }
    out.extend_from_slice(&(lies.len() as u32).to_le_bytes());
    for lie in lies.values() {
        let long = |out: &mut Vec<u8>, bytes: &[u8]| {
            out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            out.extend_from_slice(bytes);
        };
        let deed = match &lie.write {
            LiedWrite::Set(_) => 1,
            LiedWrite::Add { is_new_cell, .. } => 2 + u8::from(*is_new_cell),
            LiedWrite::Insert => 4,
            LiedWrite::WriteOnce(_) => 5,
            LiedWrite::Edit { is_list, .. } => 10 - u8::from(*is_list),
            LiedWrite::Remove => 8,
        };
        let space = match lie.space {
            Space::Shared => 0,
            Space::Owned => 1,
            Space::Private => 2,
            Space::Attached => 3,
            Space::Agenda => 4,
            Space::Stable => 5,
        };
        let removes_first = lie.removes_first && deed != 8;
        out.extend_from_slice(&[deed | (u8::from(removes_first) << 7), space]);
        out.extend_from_slice(&(lie.key.len() as u16).to_le_bytes());
        out.extend_from_slice(&lie.key);
        match &lie.write {
            LiedWrite::Set(bytes) | LiedWrite::WriteOnce(bytes) => long(&mut out, bytes),
            LiedWrite::Add { amount, .. } => out.extend_from_slice(&amount.to_le_bytes()),
            LiedWrite::Edit {
                births,
                seen,
                update,
                ..
            } => {
                out.extend_from_slice(&(births.len() as u16).to_le_bytes());
                for birth in births {
                    out.extend_from_slice(birth.author.as_bytes());
                    out.extend_from_slice(&birth.hlc.bits().to_le_bytes());
                }
                out.extend_from_slice(&(seen.len() as u16).to_le_bytes());
                for stamp in seen {
                    out.extend_from_slice(&stamp.to_le_bytes());
                }
                long(&mut out, update);
            }
            LiedWrite::Insert | LiedWrite::Remove => {}
        }
    }
    out.extend_from_slice(&0_u32.to_le_bytes());
    out.extend_from_slice(&root);
    DeltaView::parse(&out).expect("liars keep to the form");
    Bytes::from(out)
}
