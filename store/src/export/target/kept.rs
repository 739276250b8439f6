//! What is kept of a context beside its state and its log, on its way in: what others have
//! signed, what callers were told, and who else has it.

use super::Target;
use crate::answer::{ANSWER_AROUND_BYTES, AnswerKey, KeptAnswer};
use crate::error::ImportError;
use crate::hlc::Hlc;
use crate::ids::{DeltaId, NodeId};
use crate::layout::{ack_key, answer_age_key, answer_key, author_in_slot_key, seal_key, slot_key};
use crate::members::{Ack, MEMBERS_MAX, seal_pruned};
use crate::record::{AnswerAgeRow, AnswerTally, ForkRow, RecordKind, SealRow};
use crate::seal::{Branch, Seal};
use crate::version::Dot;
use crate::writer::LedgerWriter;

impl<'l> Target<'l> {
    pub(super) fn seal(
        &mut self,
        writer: &mut LedgerWriter<'l>,
        delta: &DeltaId,
        hlc: Hlc,
        version: u64,
        bytes: &[u8],
    ) -> Result<(), ImportError> {
        let malformed = |_| ImportError::malformed("a seal in it is malformed");
        let author = self.known(Seal::read(bytes).map_err(malformed)?.author())?;
        if hlc > self.head.seen.stamp(author) || version > self.head.version {
            let why = "a seal is of more than its context has";
            return Err(ImportError::malformed(why));
        }
        self.counts.seals += 1;
        self.key([&seal_key(self.record.slot, author, hlc), &[]]);
        let table = writer.tables().seals;
        let row = SealRow {
            delta: *delta.as_bytes(),
            version,
            seal: bytes,
        };
        self.put(writer, table, &row)
    }

    pub(super) fn fork(
        &mut self,
        writer: &mut LedgerWriter<'l>,
        known: &[u8],
        other: &[u8],
    ) -> Result<(), ImportError> {
        let malformed = |_| ImportError::malformed("a proof in it does not hold");
        let author = Branch::read(other).map_err(malformed)?.author();
        let author = self.known(author)?;
        self.counts.forks += 1;
        self.key([&author_in_slot_key(self.record.slot, author), &[]]);
        let table = writer.tables().forks;
        self.put(writer, table, &ForkRow { known, other })
    }

    /// The number of an author that some row before has named.
    fn known(&self, node: NodeId) -> Result<u32, ImportError> {
        let step = self.step.as_ref().expect("a row is taken in within a step");
        let number = step.authors.find(node);
        number.ok_or(ImportError::malformed("an author was not named before"))
    }

    pub(super) fn answer(
        &mut self,
        writer: &mut LedgerWriter<'l>,
        key: &AnswerKey,
        answer: &KeptAnswer,
    ) -> Result<(), ImportError> {
        let bytes = answer.said.text().len() as u64 + ANSWER_AROUND_BYTES;
        self.counts.answers += 1;
        self.answers = self.answers.with(bytes);
        self.key([&answer_key(self.record.slot, key), &[]]);
        answer.seal(&mut self.buffers.record, &self.buffers.key);
        let tables = writer.tables();
        self.put_sealed(writer, tables.answers, RecordKind::Answer)?;
        self.key([&answer_age_key(self.record.slot, answer.hlc, key), &[]]);
        self.put(writer, tables.answers_by_age, &AnswerAgeRow { bytes })
    }

    pub(super) fn members(
        &mut self,
        writer: &mut LedgerWriter<'l>,
        pruned: &[Dot],
    ) -> Result<(), ImportError> {
        let pruned = self.seen(writer, pruned)?;
        self.has_members = true;
        self.key([&slot_key(self.record.slot), &[]]);
        seal_pruned(&mut self.buffers.record, self.record.slot, &pruned);
        let table = writer.tables().acks;
        self.put_sealed(writer, table, RecordKind::Members)
    }

    pub(super) fn member(
        &mut self,
        writer: &mut LedgerWriter<'l>,
        ack: &Ack,
    ) -> Result<(), ImportError> {
        self.counts.members += 1;
        if !self.has_members || self.counts.members > MEMBERS_MAX as u64 {
            return Err(ImportError::malformed("it has members that it cannot have"));
        }
        self.key([&ack_key(self.record.slot, &ack.node), &[]]);
        ack.seal(&mut self.buffers.record, &self.buffers.key);
        let table = writer.tables().acks;
        self.put_sealed(writer, table, RecordKind::Ack)
    }

    /// What all answers together count for, and how large log and events are.
    pub(super) fn sums(&mut self, writer: &mut LedgerWriter<'l>) -> Result<(), ImportError> {
        let tables = writer.tables();
        let tally = self.tally.row();
        self.key([&slot_key(self.record.slot), &[]]);
        self.put(writer, tables.tallies, &tally)?;
        if self.answers == AnswerTally::default() {
            return Ok(());
        }
        let answers = self.answers;
        self.put(writer, tables.answers_by_age, &answers)
    }
}
