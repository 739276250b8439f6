//! yrs: elements with ids, each knowing its left and right neighbour at birth.

use crate::replica::{Edit, Insert, Kind, Replica};
use ::yrs::updates::decoder::Decode;
use ::yrs::{
    Any, Array, ArrayRef, Doc, GetString, OffsetKind, Options, Out, ReadTxn, StateVector, Text,
    TextRef, Transact, Update, block::ClientID,
};

pub struct Yrs {
    doc: Doc,
    text: TextRef,
    list: ArrayRef,
    kind: Kind,
}

impl Replica for Yrs {
    const NAME: &'static str = "yrs";
    const LISTS: bool = true;

    fn new(kind: Kind, peer: u64) -> Self {
        let mut options = Options::with_client_id(ClientID::new(peer));
        options.offset_kind = OffsetKind::Bytes;
        let doc = Doc::with_options(options);
        let (text, list) = (doc.get_or_insert_text("t"), doc.get_or_insert_array("l"));
        Self {
            doc,
            text,
            list,
            kind,
        }
    }

    fn load(kind: Kind, peer: u64, saved: &[u8]) -> Result<Self, String> {
        let mut new = Self::new(kind, peer);
        new.apply(saved)?;
        Ok(new)
    }

    fn save(&mut self) -> Vec<u8> {
        self.doc
            .transact()
            .encode_state_as_update_v1(&StateVector::default())
    }

    fn edit(&mut self, edits: &[Edit]) -> Vec<u8> {
        let mut txn = self.doc.transact_mut();
        for edit in edits {
            let (at, delete) = (edit.at as u32, edit.delete as u32);
            if delete > 0 {
                match self.kind {
                    Kind::Text => self.text.remove_range(&mut txn, at, delete),
                    Kind::List => self.list.remove_range(&mut txn, at, delete),
                }
            }
            match &edit.insert {
                Insert::Text(text) if text.is_empty() => {}
                Insert::Text(text) => self.text.insert(&mut txn, at, text),
                Insert::Values(values) => {
                    if !values.is_empty() {
                        let values = values.iter().map(|v| Any::from(v.clone()));
                        self.list.insert_range(&mut txn, at, values);
                    }
                }
            }
        }
        txn.encode_update_v1()
    }

    fn apply(&mut self, update: &[u8]) -> Result<(), String> {
        let update = Update::decode_v1(update).map_err(|e| e.to_string())?;
        let mut txn = self.doc.transact_mut();
        txn.apply_update(update).map_err(|e| e.to_string())
    }

    fn len(&self) -> usize {
        let txn = self.doc.transact();
        (match self.kind {
            Kind::Text => self.text.len(&txn),
            Kind::List => self.list.len(&txn),
        }) as usize
    }

    fn content(&self) -> Vec<u8> {
        let txn = self.doc.transact();
        match self.kind {
            Kind::Text => self.text.get_string(&txn).into_bytes(),
            Kind::List => {
                let mut all = Vec::new();
                for value in self.list.iter(&txn) {
                    if let Out::Any(Any::Buffer(bytes)) = value {
                        all.extend_from_slice(&bytes);
                        all.push(b'|');
                    }
                }
                all
            }
        }
    }
}
