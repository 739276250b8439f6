//! diamond-types: text only; operations by position, replayed where they meet.

use crate::replica::{Edit, Insert, Kind, Replica};
use diamond_types::list::ListCRDT;
use diamond_types::list::encoding::{ENCODE_FULL, ENCODE_PATCH};

pub struct Diamond {
    doc: ListCRDT,
    agent: diamond_types::AgentId,
}

impl Replica for Diamond {
    const NAME: &'static str = "diamond-types";
    const LISTS: bool = false;

    fn new(_: Kind, peer: u64) -> Self {
        let mut doc = ListCRDT::new();
        let agent = doc.get_or_create_agent_id(&format!("{peer:016x}"));
        Self { doc, agent }
    }

    fn load(_: Kind, peer: u64, saved: &[u8]) -> Result<Self, String> {
        let mut doc = ListCRDT::load_from(saved).map_err(|e| format!("{e:?}"))?;
        let agent = doc.get_or_create_agent_id(&format!("{peer:016x}"));
        Ok(Self { doc, agent })
    }

    fn save(&mut self) -> Vec<u8> {
        self.doc.oplog.encode(ENCODE_FULL)
    }

    fn edit(&mut self, edits: &[Edit]) -> Vec<u8> {
        let before = self.doc.oplog.local_version();
        for edit in edits {
            if edit.delete > 0 {
                self.doc
                    .delete_without_content(self.agent, edit.at..edit.at + edit.delete);
            }
            if let Insert::Text(text) = &edit.insert
                && !text.is_empty()
            {
                self.doc.insert(self.agent, edit.at, text);
            }
        }
        self.doc.oplog.encode_from(ENCODE_PATCH, &before)
    }

    fn apply(&mut self, update: &[u8]) -> Result<(), String> {
        self.doc
            .merge_data_and_ff(update)
            .map(drop)
            .map_err(|e| format!("{e:?}"))
    }

    fn len(&self) -> usize {
        self.doc.len()
    }

    fn content(&self) -> Vec<u8> {
        self.doc.branch.content().to_string().into_bytes()
    }
}
