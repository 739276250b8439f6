//! Our own, from the store crate: what the decision chose.

use crate::replica::{Edit, Insert, Kind, Replica};
use corelet_store::{Content, Hlc, NodeId, Sequence, SequenceKind, UPDATE_EDITS_MAX};

pub struct Own {
    sequence: Sequence,
    peer: u64,
    stamp: u64,
}

fn key(peer: u64) -> NodeId {
    let mut id = [0xa5; 32];
    id[..8].copy_from_slice(&peer.to_be_bytes());
    NodeId::from_bytes(id)
}

impl Replica for Own {
    const NAME: &'static str = "own";
    const LISTS: bool = true;

    fn new(kind: Kind, peer: u64) -> Self {
        let kind = match kind {
            Kind::List => SequenceKind::List,
            Kind::Text => SequenceKind::Text,
        };
        Self { sequence: Sequence::new(kind, key(peer)), peer, stamp: 0 }
    }

    fn load(_: Kind, peer: u64, saved: &[u8]) -> Result<Self, String> {
        let sequence = Sequence::open(key(peer), saved).map_err(|e| e.to_string())?;
        // Later than all that these comparisons do.
        Ok(Self { sequence, peer, stamp: 1 << 40 })
    }

    fn save(&mut self) -> Vec<u8> {
        self.sequence.save().expect("no edits wait")
    }

    fn edit(&mut self, edits: &[Edit]) -> Vec<u8> {
        let mut out = self.peer.to_le_bytes().to_vec();
        // Each edit deletes once and inserts once, at the most.
        for edits in edits.chunks(UPDATE_EDITS_MAX / 2) {
            for edit in edits {
                let content = match &edit.insert {
                    Insert::Text(text) => Content::Text(text.clone()),
                    Insert::Values(values) => {
                        Content::Values(values.iter().map(|v| v.clone().into()).collect())
                    }
                };
                self.sequence.delete(edit.at, edit.delete).expect("in range");
                self.sequence.insert(edit.at, content).expect("in range");
            }
            self.stamp += 1;
            let update = self.sequence.take_update(Hlc::from_bits(self.stamp)).expect("later");
            // The frame says what a delta would: author and stamp, and how long the edit is.
            let update = update.unwrap_or_default();
            out.extend_from_slice(&self.stamp.to_le_bytes());
            out.extend_from_slice(&(update.len() as u32).to_le_bytes());
            out.extend_from_slice(&update);
        }
        out
    }

    fn apply(&mut self, update: &[u8]) -> Result<(), String> {
        let (peer, mut rest) = update.split_first_chunk().ok_or("no author")?;
        let peer = u64::from_le_bytes(*peer);
        while !rest.is_empty() {
            let (stamp, tail) = rest.split_first_chunk().ok_or("no stamp")?;
            let (len, tail) = tail.split_first_chunk().ok_or("no length")?;
            let len = u32::from_le_bytes(*len) as usize;
            let (update, tail) = tail.split_at_checked(len).ok_or("cut off")?;
            rest = tail;
            let stamp = Hlc::from_bits(u64::from_le_bytes(*stamp));
            // What an author has seen is the store's to know; here, everything.
            let all = |_: &NodeId| Hlc::from_bits(u64::MAX);
            let applied = self.sequence.apply(key(peer), stamp, all, update);
            applied.map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    fn len(&self) -> usize {
        self.sequence.len()
    }

    fn content(&self) -> Vec<u8> {
        match self.sequence.slice(0, self.len()).expect("in range") {
            Content::Text(text) => text.into_bytes(),
            Content::Values(values) => {
                values.iter().flat_map(|v| v.iter().copied().chain([b'|'])).collect()
            }
        }
    }
}
