//! loro: operations by position with their version, replayed where they meet.

use crate::replica::{Edit, Insert, Kind, Replica};
use ::loro::{ExportMode, LoroDoc, LoroList, LoroText, LoroValue};

pub struct Loro {
    doc: LoroDoc,
    text: LoroText,
    list: LoroList,
    kind: Kind,
}

impl Loro {
    fn over(doc: LoroDoc, kind: Kind, peer: u64) -> Self {
        doc.set_peer_id(peer).expect("no edits are pending");
        let (text, list) = (doc.get_text("s"), doc.get_list("s"));
        Self {
            doc,
            text,
            list,
            kind,
        }
    }
}

impl Replica for Loro {
    const NAME: &'static str = "loro";
    const LISTS: bool = true;

    fn new(kind: Kind, peer: u64) -> Self {
        Self::over(LoroDoc::new(), kind, peer)
    }

    fn load(kind: Kind, peer: u64, saved: &[u8]) -> Result<Self, String> {
        let doc = LoroDoc::from_snapshot(saved).map_err(|e| e.to_string())?;
        Ok(Self::over(doc, kind, peer))
    }

    fn save(&mut self) -> Vec<u8> {
        self.doc
            .export(ExportMode::Snapshot)
            .expect("the document is whole")
    }

    fn edit(&mut self, edits: &[Edit]) -> Vec<u8> {
        let before = self.doc.oplog_vv();
        for edit in edits {
            if edit.delete > 0 {
                match self.kind {
                    Kind::Text => self.text.delete(edit.at, edit.delete),
                    Kind::List => self.list.delete(edit.at, edit.delete),
                }
                .expect("in range");
            }
            match &edit.insert {
                Insert::Text(text) if text.is_empty() => {}
                Insert::Text(text) => self.text.insert(edit.at, text).expect("in range"),
                Insert::Values(values) => {
                    for (i, value) in values.iter().enumerate() {
                        self.list
                            .insert(edit.at + i, LoroValue::from(value.clone()))
                            .expect("in range");
                    }
                }
            }
        }
        self.doc.commit();
        self.doc
            .export(ExportMode::updates(&before))
            .expect("the document is whole")
    }

    fn apply(&mut self, update: &[u8]) -> Result<(), String> {
        let status = self.doc.import(update).map_err(|e| e.to_string())?;
        match status.pending {
            Some(pending) => Err(format!("pending {pending:?}")),
            None => Ok(()),
        }
    }

    fn len(&self) -> usize {
        match self.kind {
            Kind::Text => self.text.len_unicode(),
            Kind::List => self.list.len(),
        }
    }

    fn content(&self) -> Vec<u8> {
        match self.kind {
            Kind::Text => self.text.to_string().into_bytes(),
            Kind::List => {
                let mut all = Vec::new();
                self.list.for_each(|value| {
                    if let Some(value) = value.as_value()
                        && let LoroValue::Binary(bytes) = value
                    {
                        all.extend_from_slice(bytes);
                        all.push(b'|');
                    }
                });
                all
            }
        }
    }

    fn mend(update: &mut [u8]) {
        if update.len() > 20 {
            let sum = xxhash_rust::xxh32::xxh32(&update[20..], u32::from_le_bytes(*b"LORO"));
            update[16..20].copy_from_slice(&sum.to_le_bytes());
        }
    }
}
