//! automerge: elements with ids, edits in hash-linked changes.

use crate::replica::{Edit, Insert, Kind, Replica};
use ::automerge::transaction::Transactable;
use ::automerge::{
    ActorId, Automerge, Change, ObjId, ObjType, ROOT, ReadDoc, ScalarValue, Value, hydrate,
};
use sha2::{Digest, Sha256};

pub struct Merge {
    doc: Automerge,
    object: ObjId,
    kind: Kind,
}

fn actor(peer: u64) -> ActorId {
    // As long as the public key that it would be.
    let mut id = [0u8; 32];
    id[..8].copy_from_slice(&peer.to_be_bytes());
    id[8..].copy_from_slice(&[0xa5; 24]);
    ActorId::from(id)
}

impl Merge {
    fn over(mut doc: Automerge, kind: Kind, peer: u64) -> Result<Self, String> {
        doc.set_actor(actor(peer));
        let (_, object) = doc
            .get(ROOT, "s")
            .map_err(|e| e.to_string())?
            .ok_or("no object")?;
        Ok(Self { doc, object, kind })
    }
}

impl Replica for Merge {
    const NAME: &'static str = "automerge";
    const LISTS: bool = true;
    // One import goes through the whole text: all of the paper takes hours.
    const EDITS_MAX: usize = 4_000;

    fn new(kind: Kind, peer: u64) -> Self {
        // The object must have the same id everywhere: all begin with this change.
        let mut doc = Automerge::new().with_actor(actor(0));
        let mut tx = doc.transaction();
        let object = match kind {
            Kind::Text => ObjType::Text,
            Kind::List => ObjType::List,
        };
        tx.put_object(ROOT, "s", object).expect("a fresh document");
        tx.commit();
        Self::over(doc, kind, peer).expect("it was just made")
    }

    fn load(kind: Kind, peer: u64, saved: &[u8]) -> Result<Self, String> {
        Self::over(
            Automerge::load(saved).map_err(|e| e.to_string())?,
            kind,
            peer,
        )
    }

    fn save(&mut self) -> Vec<u8> {
        self.doc.save()
    }

    fn edit(&mut self, edits: &[Edit]) -> Vec<u8> {
        let mut tx = self.doc.transaction();
        for edit in edits {
            let delete = edit.delete as isize;
            match &edit.insert {
                Insert::Text(text) => tx.splice_text(&self.object, edit.at, delete, text),
                Insert::Values(values) => {
                    let values = values
                        .iter()
                        .map(|v| hydrate::Value::Scalar(ScalarValue::Bytes(v.clone())));
                    tx.splice(&self.object, edit.at, delete, values)
                }
            }
            .expect("in range");
        }
        tx.commit();
        self.doc
            .get_last_local_change()
            .expect("just made")
            .raw_bytes()
            .to_vec()
    }

    fn apply(&mut self, update: &[u8]) -> Result<(), String> {
        let change = Change::from_bytes(update.to_vec()).map_err(|e| e.to_string())?;
        let hash = change.hash();
        self.doc
            .apply_changes([change])
            .map_err(|e| e.to_string())?;
        match self.doc.get_change_by_hash(&hash) {
            Some(_) => Ok(()),
            None => Err("waits for its dependencies".into()),
        }
    }

    fn len(&self) -> usize {
        self.doc.length(&self.object)
    }

    fn content(&self) -> Vec<u8> {
        match self.kind {
            Kind::Text => self.doc.text(&self.object).expect("a text").into_bytes(),
            Kind::List => {
                let mut all = Vec::new();
                for item in self.doc.list_range(&self.object, ..) {
                    if let Value::Scalar(value) = Value::from(item.value)
                        && let ScalarValue::Bytes(bytes) = value.as_ref()
                    {
                        all.extend_from_slice(bytes);
                        all.push(b'|');
                    }
                }
                all
            }
        }
    }

    fn mend(update: &mut [u8]) {
        if update.len() > 9 {
            let sum = Sha256::digest(&update[8..]);
            update[4..8].copy_from_slice(&sum[..4]);
        }
    }
}
