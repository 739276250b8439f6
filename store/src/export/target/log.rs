//! The log of a context on its way in, the newest delta first, and what deltas had seen. Where
//! the log can be cut is marked anew, as positions are the ledger's own.
//!
//! Some deltas wait for each other, and are put from the oldest of them on, as LMDB splits a page sooner
//! where records are put before others.

use super::{Buffers, Finding, Span, Step, Target};
use crate::error::ImportError;
use crate::layout::{self, mark_key, slot_key};
use crate::record::{DagNode, LogRow, RecordKind, seal};
use crate::tally::{MarkRow, SPAN_BYTES, SPAN_DELTAS_MAX};
use crate::version::Dot;
use crate::writer::LedgerWriter;

/// So many bytes of deltas wait, or one delta: some hundred pages,
/// and no more than a processor's cache holds.
const WAITING_BYTES_MAX: usize = 1 << 20;

/// Records of the log that are to be put in the step, the newest first.
#[derive(Default)]
pub(super) struct Waiting {
    records: Vec<u8>,
    /// The position of each, and where in these bytes it ends.
    ends: Vec<(u64, usize)>,
}

impl Waiting {
    /// One more, before these. Gives whether they are to be put now.
    fn add(&mut self, position: u64, record: &[u8]) -> bool {
        self.records.extend_from_slice(record);
        self.ends.push((position, self.records.len()));
        self.records.len() >= WAITING_BYTES_MAX
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.records.len()
    }

    pub(super) fn put(
        &mut self,
        writer: &LedgerWriter<'_>,
        step: &mut Step<'_>,
    ) -> Result<(), ImportError> {
        let table = writer.tables().log;
        while let Some((position, end)) = self.ends.pop() {
            let begin = self.ends.last().map_or(0, |(_, end)| *end);
            let key = layout::position_key(position);
            let record = &self.records[begin..end];
            step.put(writer, table, RecordKind::Log, &key, record)?;
        }
        self.records.clear();
        self.records.shrink_to(2 * WAITING_BYTES_MAX);
        Ok(())
    }
}

impl<'l> Target<'l> {
    pub(super) fn past(
        &mut self,
        writer: &mut LedgerWriter<'l>,
        id: &[u8; 32],
        node: &DagNode,
    ) -> Result<(), ImportError> {
        let slot = slot_key(self.record.slot);
        self.key([&slot, id]);
        let Buffers { key, record, .. } = &mut self.buffers;
        node.seal(record, key);
        let table = writer.tables().dag;
        self.put_sealed(writer, table, RecordKind::Dag)
    }

    /// A delta of the log, before those that came already.
    pub(super) fn delta(
        &mut self,
        writer: &mut LedgerWriter<'l>,
        canonical: &[u8],
        past: Option<&(Dot, Vec<Dot>)>,
        finding: &Finding,
    ) -> Result<(), ImportError> {
        let Finding::Delta { id, hlc } = finding else {
            return Err(ImportError::malformed("a delta in its log is malformed"));
        };
        if self.counts.deltas >= self.head.log_count {
            return Err(ImportError::malformed("more deltas came than it says"));
        }
        let position = self.log_top - self.counts.deltas;
        self.counts.deltas += 1;
        let is_oldest = self.counts.deltas == self.head.log_count;
        let row = LogRow {
            slot: self.record.slot.number(),
            previous: match is_oldest {
                true => self.head.log_pruned,
                false => position - 1,
            },
            canonical,
        };
        let record = &mut self.buffers.record;
        seal(record, &layout::position_key(position), &row);
        if self.log.add(position, record) {
            let step = self.step.as_mut().expect("a row is taken in within a step");
            self.log.put(writer, step)?;
        }
        if self.count(canonical.len() as u64, is_oldest) {
            self.key([&mark_key(self.record.slot, position), &[]]);
            let (table, hlc) = (writer.tables().marks, hlc.bits());
            self.put(writer, table, &MarkRow { hlc })?;
        }
        if let Some((dot, seen)) = past {
            let node = DagNode {
                position,
                dot: self.dot(writer, *dot)?,
                seen: self.seen(writer, seen)?,
            };
            self.past(writer, id.as_bytes(), &node)?;
        }
        Ok(())
    }

    /// Counts the delta. Gives whether the log can be cut behind it: at every so-manieth from
    /// the oldest on, or where the deltas up to the mark above it have come to so many bytes.
    fn count(&mut self, bytes: u64, is_oldest: bool) -> bool {
        let (tally, span) = (&mut self.tally, &mut self.span);
        tally.log_bytes += bytes;
        let left = self.head.log_count - self.counts.deltas;
        span.bytes += bytes;
        let is_whole = (left + 1).is_multiple_of(SPAN_DELTAS_MAX.into());
        if is_oldest || !(is_whole || span.bytes >= SPAN_BYTES) {
            if !span.is_below_mark {
                tally.span_deltas += 1;
                tally.span_bytes += bytes;
            }
            return false;
        }
        *span = Span {
            bytes: 0,
            is_below_mark: true,
        };
        true
    }
}
