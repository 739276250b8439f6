//! cola: positions only. The content is a rope or a vector beside it, which is
//! edited at the offsets that cola answers.

use crate::replica::{Edit, Insert, Kind, Replica};
use ::cola::{Deletion, EncodedReplica, Insertion, Replica as Positions};
use jumprope::JumpRope;
use serde::{Deserialize, Serialize};

pub struct Cola {
    positions: Positions,
    text: JumpRope,
    list: Vec<Vec<u8>>,
    kind: Kind,
}

#[derive(Serialize, Deserialize)]
enum Op {
    Text(Insertion, String),
    Values(Insertion, Vec<Vec<u8>>),
    Delete(Deletion),
}

#[derive(Serialize, Deserialize)]
struct Saved {
    positions: Vec<u8>,
    text: String,
    list: Vec<Vec<u8>>,
}

impl Replica for Cola {
    const NAME: &'static str = "cola";
    const LISTS: bool = true;

    fn new(kind: Kind, peer: u64) -> Self {
        // All fork one empty replica, as its manual asks.
        let positions = Positions::new(u64::MAX, 0).fork(peer);
        Self {
            positions,
            text: JumpRope::new(),
            list: Vec::new(),
            kind,
        }
    }

    fn load(kind: Kind, peer: u64, saved: &[u8]) -> Result<Self, String> {
        let saved: Saved = postcard::from_bytes(saved).map_err(|e| e.to_string())?;
        let encoded = EncodedReplica::from_bytes(&saved.positions);
        let positions = Positions::decode(peer, &encoded).map_err(|e| format!("{e:?}"))?;
        Ok(Self {
            positions,
            text: JumpRope::from(saved.text.as_str()),
            list: saved.list,
            kind,
        })
    }

    fn save(&mut self) -> Vec<u8> {
        let saved = Saved {
            positions: self.positions.encode().as_bytes().to_vec(),
            text: self.text.to_string(),
            list: self.list.clone(),
        };
        postcard::to_stdvec(&saved).expect("plain data")
    }

    fn edit(&mut self, edits: &[Edit]) -> Vec<u8> {
        let mut ops = Vec::with_capacity(edits.len());
        for edit in edits {
            if edit.delete > 0 {
                let range = edit.at..edit.at + edit.delete;
                ops.push(Op::Delete(self.positions.deleted(range.clone())));
                match self.kind {
                    Kind::Text => self.text.remove(range),
                    Kind::List => drop(self.list.drain(range)),
                }
            }
            match &edit.insert {
                Insert::Text(text) if text.is_empty() => {}
                Insert::Text(text) => {
                    let insertion = self.positions.inserted(edit.at, text.chars().count());
                    self.text.insert(edit.at, text);
                    ops.push(Op::Text(insertion, text.clone()));
                }
                Insert::Values(values) if values.is_empty() => {}
                Insert::Values(values) => {
                    let insertion = self.positions.inserted(edit.at, values.len());
                    self.list.splice(edit.at..edit.at, values.iter().cloned());
                    ops.push(Op::Values(insertion, values.clone()));
                }
            }
        }
        postcard::to_stdvec(&ops).expect("plain data")
    }

    fn apply(&mut self, update: &[u8]) -> Result<(), String> {
        let ops: Vec<Op> = postcard::from_bytes(update).map_err(|e| e.to_string())?;
        for op in ops {
            match op {
                Op::Text(insertion, text) => {
                    let at = self
                        .positions
                        .integrate_insertion(&insertion)
                        .ok_or("pending")?;
                    self.text.insert(at, &text);
                }
                Op::Values(insertion, values) => {
                    let at = self
                        .positions
                        .integrate_insertion(&insertion)
                        .ok_or("pending")?;
                    self.list.splice(at..at, values);
                }
                Op::Delete(deletion) => {
                    let ranges = self.positions.integrate_deletion(&deletion);
                    for range in ranges.into_iter().rev() {
                        match self.kind {
                            Kind::Text => self.text.remove(range),
                            Kind::List => drop(self.list.drain(range)),
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn len(&self) -> usize {
        match self.kind {
            Kind::Text => self.text.len_chars(),
            Kind::List => self.list.len(),
        }
    }

    fn content(&self) -> Vec<u8> {
        match self.kind {
            Kind::Text => self.text.to_string().into_bytes(),
            Kind::List => self
                .list
                .iter()
                .flat_map(|v| v.iter().copied().chain([b'|']))
                .collect(),
        }
    }
}
