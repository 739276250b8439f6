//! What the collector reads of the log to find a span of history that can go (`history.rs`, `followed.rs`). It
//! takes a checksum and, in a shared context, a hash of a whole delta to know what it is: a large one is read in
//! pieces, as many in a step as its time allows.

use std::collections::BTreeMap;

use super::Pass;
use super::collect::Step;
use crate::delta::stamp_of;
use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::ids::{ContextSlot, DeltaId, NodeId};
use crate::layout::position_key;
use crate::record::{self, Summing};
use crate::version::Dot;

/// A record of so many bytes is large: it is read once, also if steps end before what it is read for was found.
pub(super) const LARGE_BYTES: usize = 16 << 10;

/// What of a large one is read between two looks at the clock: tens of microseconds where its pages are not in memory.
const PIECE_BYTES: usize = 16 << 10;

/// Large deltas, and contexts, of which note is taken.
const NOTED_MAX: usize = 1_024;

/// A delta in the log.
#[derive(Clone, Copy)]
pub(super) struct Logged {
    pub(super) position: u64,
    pub(super) previous: u64,
    /// Worked out for a shared context alone: it takes a hash of the whole delta.
    pub(super) id: Option<DeltaId>,
    pub(super) dot: Dot,
    pub(super) bytes: u64,
}

/// Large deltas that were read or have begun to be. A step whose time is over
/// meanwhile ends, and the next one goes on with what they are. They stay what they are as long as the transaction or what
/// was committed of it does: what is made anew from the journal may have others in their places.
#[derive(Default)]
pub(crate) struct Reading {
    deltas: BTreeMap<u64, Logged>,
    begun: BTreeMap<u64, Box<Begun>>,
    /// The newest deltas of contexts when it was begun to look for their spans: so what is looked at stays the same.
    pub(super) newest: BTreeMap<ContextSlot, u64>,
    /// Whether this step has read a piece of one.
    pub(super) is_new: bool,
}

impl Reading {
    /// Forgets everything if it is too much.
    pub(super) fn bound(&mut self) {
        let counts = [self.deltas.len(), self.begun.len(), self.newest.len()];
        if counts.iter().any(|&count| count > NOTED_MAX) {
            *self = Reading::default();
        }
    }

    /// The delta at this position is gone.
    pub(super) fn forget(&mut self, position: u64) {
        self.deltas.remove(&position);
    }
}

/// A record of the log of which some pieces were read.
struct Begun {
    /// Its length.
    bytes: usize,
    /// How much was read, of what the checksum covers and of the delta alike.
    at: usize,
    sum: Summing,
    id: Option<blake3::Hasher>,
}

impl Begun {
    fn of(key: &[u8], found: &[u8], with_id: bool) -> Result<Box<Begun>, StoreError> {
        Ok(Box::new(Begun {
            bytes: found.len(),
            at: 0,
            sum: Summing::begin(record::RecordKind::Log, key, found)?,
            id: with_id.then(blake3::Hasher::new),
        }))
    }

    /// Whether it goes on where one was broken off that is wanted now.
    fn is_of(&self, found: &[u8], with_id: bool) -> bool {
        self.bytes == found.len() && (self.id.is_some() || !with_id)
    }

    /// Reads the next piece; true if that was the last one.
    fn read_on(&mut self, found: &[u8], canonical: &[u8]) -> bool {
        let end = self.at + PIECE_BYTES;
        let piece = |bytes: &[u8]| self.at.min(bytes.len())..end.min(bytes.len());
        let covered = Summing::covered(found);
        self.sum.take_in(&covered[piece(covered)]);
        let of_delta = piece(canonical);
        if let Some(id) = &mut self.id {
            id.update(&canonical[of_delta]);
        }
        self.at = end;
        end >= self.bytes
    }
}

impl Pass<'_> {
    /// A delta, of which it is known what it is if it is large and was read before. None if the step is over
    /// and has read a piece of one that the next one need not read again.
    pub(super) fn read_once(
        &self,
        slot: ContextSlot,
        position: u64,
        with_id: bool,
        step: &mut Step<'_>,
    ) -> Result<Option<Logged>, StoreError> {
        let known = step.reading.deltas.get(&position).copied();
        if let Some(known) = known.filter(|known| known.id.is_some() || !with_id) {
            return Ok(Some(known));
        }
        let key = position_key(position);
        let found = self.log_record(&key)?;
        if found.len() < LARGE_BYTES {
            if step.reading.is_new && step.is_full() {
                return Ok(None);
            }
            let delta = self.logged(slot, position, with_id)?;
            step.done.rows += 1;
            step.done.bytes += delta.bytes;
            return Ok(Some(delta));
        }
        let begun = step.reading.begun.remove(&position);
        let mut begun = match begun.filter(|begun| begun.is_of(found, with_id)) {
            Some(begun) => begun,
            None => Begun::of(&key, found, with_id)?,
        };
        // Its parts are within it, whatever they are.
        let row = record::Logged::read_summed(&key, found)?;
        loop {
            if step.reading.is_new && step.is_full() {
                step.reading.begun.insert(position, begun);
                return Ok(None);
            }
            step.reading.is_new = true;
            step.done.bytes += PIECE_BYTES as u64;
            if begun.read_on(found, row.canonical) {
                break;
            }
        }
        step.done.rows += 1;
        begun.sum.check(&key)?;
        let stamp = stamp_of(row.canonical).map_err(|_| row.malformed(&key))?;
        let id = begun.id.as_ref().map(|id| *id.finalize().as_bytes());
        let id = id.map(DeltaId::from_bytes);
        let delta = self.told(slot, position, &row, id, stamp)?;
        step.reading.deltas.insert(position, delta);
        Ok(Some(delta))
    }

    /// The same at once, however large it is.
    pub(super) fn logged(
        &self,
        slot: ContextSlot,
        position: u64,
        with_id: bool,
    ) -> Result<Logged, StoreError> {
        let key = position_key(position);
        let row = record::Logged::read(&key, self.log_record(&key)?)?;
        let delta = row.delta(&key)?;
        let id = with_id.then(|| delta.id());
        self.told(slot, position, &row, id, (delta.author(), delta.hlc()))
    }

    fn log_record(&self, key: &[u8]) -> Result<&[u8], StoreError> {
        let found = self.tables.log.get(&self.txn, key);
        let found = found.map_err(|error| self.engine(error))?;
        found.ok_or_else(|| StoreError::corrupt("log record", key, "it is missing"))
    }

    fn told(
        &self,
        slot: ContextSlot,
        position: u64,
        row: &record::Logged<'_>,
        id: Option<DeltaId>,
        (author, hlc): (NodeId, Hlc),
    ) -> Result<Logged, StoreError> {
        let corrupt = |why| StoreError::corrupt("log record", &position_key(position), why);
        if row.slot != slot {
            return Err(corrupt("it belongs to another context"));
        }
        if row.previous >= position {
            return Err(corrupt("the delta before it is not before it"));
        }
        let author = self.authors.find(author);
        Ok(Logged {
            position,
            previous: row.previous,
            id,
            dot: Dot {
                author: author.ok_or_else(|| corrupt("its author is unknown"))?,
                hlc,
            },
            bytes: row.bytes(),
        })
    }
}
