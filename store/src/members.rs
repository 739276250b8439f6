//! Which other nodes have a context, and what each has of it. What all have
//! acknowledged is *stable*: nobody will ever ask for it. Only stable deltas of a shared
//! context are pruned; a member that is away for too long is not waited for, and takes a
//! snapshot when it comes back. How it changes is in `apply/members.rs`.

use rkyv::with::InlineAsBox;
use rkyv::{Archive, Serialize};

use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::ids::{ContextSlot, NodeId};
use crate::layout::{ack_key, slot_key};
use crate::record::{Record, RecordKind, SeenRow, open, read_seen, seal, seen_rows};
use crate::version::VersionVector;

/// Members of one context at most: what is stable is worked out from what each of them
/// has acknowledged.
pub const MEMBERS_MAX: usize = 128;

/// A node that has a context, as this one knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which node.
    pub node: NodeId,
    /// Every author's newest delta that it has acknowledged, in no order. Empty if it has
    /// acknowledged nothing, or is away.
    pub seen: Vec<(NodeId, Hlc)>,
    /// When it has acknowledged that, or became a member.
    pub since: Hlc,
    /// Whether it is not waited for any more. It has to take a snapshot, unless
    /// what it acknowledges next shows that it lacks nothing that was pruned.
    pub is_away: bool,
}

/// That a context's members are known, and what was pruned of it.
#[derive(Archive, Serialize)]
pub(crate) struct MembersRow<'a> {
    #[rkyv(with = InlineAsBox)]
    pub(crate) pruned: &'a [SeenRow],
}

/// What a member has acknowledged.
#[derive(Archive, Serialize)]
pub(crate) struct AckRow<'a> {
    pub(crate) since: u64,
    pub(crate) is_away: bool,
    #[rkyv(with = InlineAsBox)]
    pub(crate) seen: &'a [SeenRow],
}

impl Record for MembersRow<'_> {
    const KIND: RecordKind = RecordKind::Members;
}
impl Record for AckRow<'_> {
    const KIND: RecordKind = RecordKind::Ack;
}

/// What a member has, in this ledger's numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) node: NodeId,
    pub(crate) since: Hlc,
    pub(crate) is_away: bool,
    pub(crate) seen: VersionVector,
}

impl Ack {
    /// Of a node that becomes a member.
    pub(crate) fn none_yet(node: NodeId, now: Hlc) -> Ack {
        Ack {
            node,
            since: now,
            is_away: false,
            seen: VersionVector::default(),
        }
    }

    pub(crate) fn read(key: &[u8], bytes: &[u8]) -> Result<Ack, StoreError> {
        let row = open::<AckRow>(key, bytes)?;
        let corrupt = || StoreError::corrupt(RecordKind::Ack.what(), key, "its key is too short");
        let node = key.last_chunk::<32>().ok_or_else(corrupt)?;
        Ok(Ack {
            node: NodeId::from_bytes(*node),
            since: Hlc::from_bits(row.since.to_native()),
            is_away: row.is_away,
            seen: read_seen(RecordKind::Ack, key, &row.seen)?,
        })
    }

    pub(crate) fn key(&self, slot: ContextSlot) -> [u8; 40] {
        ack_key(slot, &self.node)
    }

    pub(crate) fn seal(&self, out: &mut Vec<u8>, key: &[u8]) {
        let row = AckRow {
            since: self.since.bits(),
            is_away: self.is_away,
            seen: &seen_rows(&self.seen),
        };
        seal(out, key, &row);
    }
}

/// What was pruned of a context whose members are known.
pub(crate) fn read_pruned(slot: ContextSlot, bytes: &[u8]) -> Result<VersionVector, StoreError> {
    let key = slot_key(slot);
    let row = open::<MembersRow>(&key, bytes)?;
    read_seen(RecordKind::Members, &key, &row.pruned)
}

pub(crate) fn seal_pruned(out: &mut Vec<u8>, slot: ContextSlot, pruned: &VersionVector) {
    let row = MembersRow {
        pruned: &seen_rows(pruned),
    };
    seal(out, &slot_key(slot), &row);
}
