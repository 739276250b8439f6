//! Lists and texts as wholes: a long one is opened from what [`Sequence::save`] gave and
//! the edits since, instead of all its edits.
//!
//! A saved sequence is worked out from the edits and stays on its node: no root and no
//! delta knows of it. It says which births and how many edits it is made of. One that is
//! not of the sequence that there is, or that cannot be read, is as good as none.
//! When one is due is decided where edits are written (`apply/plan.rs`).

use std::ops::ControlFlow;

use bytes::Bytes;
use heed::{Env, WithoutTls};

use crate::authors::Authors;
use crate::change::Births;
use crate::entry::{EntryKind, Space};
use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::ids::{ContextSlot, NodeId};
use crate::layout::{self, Tables};
use crate::ledger::{commit_error, engine_error};
use crate::record::{SavedPartRow, SavedRow, open, seal};
use crate::sequence::{Arriving, Sequence, SequenceError, SequenceKind};
use crate::snapshot::{EditPlace, EditView, Snapshot};
use crate::sweep;
use crate::version::Dot;

/// The most bytes of a saved sequence in one record.
const PART_BYTES: usize = 1 << 20;

/// What a sequence must have come to before it is saved for the first time, as
/// [`weight`] counts.
const FIRST_WEIGHT: u64 = 4096;

/// Bytes that are as much work as another edit.
const BYTES_PER_EDIT: u64 = 64;

/// A list or text by its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceName {
    /// Its context.
    pub slot: ContextSlot,
    /// Its space.
    pub space: Space,
    /// The key of its entry.
    pub key: Bytes,
    /// Which of both.
    pub kind: EntryKind,
}

/// A list or text as a whole, as of one of its edits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedSequence {
    /// The births that it had.
    pub births: Births,
    /// How many edits it is made of.
    pub edits: u64,
    /// The last of them.
    pub place: EditPlace,
    /// What [`Sequence::save`] gave.
    pub bytes: Vec<u8>,
}

/// How much work it is to make a sequence of all its edits.
pub(crate) fn weight(edits: u64, bytes: u64) -> u64 {
    edits + bytes / BYTES_PER_EDIT
}

/// Whether a sequence that has grown so is to be saved: each time that it has become a
/// quarter larger. So to open it is to apply a part of its edits, and all that is written
/// for it is a few times what it is.
pub(crate) fn is_due(before: u64, after: u64) -> bool {
    let mut due = FIRST_WEIGHT;
    while due <= before {
        due += due / 4;
    }
    after >= due
}

/// Applies an edit as the ledger shows it. One that the sequence refuses is void: it changes
/// nothing, and the others go on. Tells whether it is not void.
///
/// Edits taken in the order of their stamps make the same sequence, to the byte, as that of
/// a node which has applied each when its delta came. Stamps grow along causes, so that order
/// is one in which deltas can come; and in whatever such order they come, the sequence
/// refuses the same ones, as it looks at nothing but what the delta had seen
/// (`sequence/apply.rs`). That is the same here and there for every edit that the entry
/// still has. For such an edit E, all births that it builds on are there. What its author
/// had when it made E was made of edits that build on these births alone, as E names all
/// births that were there; so all of them are still here. What else E's delta had seen was
/// gone for its author by a removal which E's delta had seen too, and is gone here. An author
/// who lies about births can void its own edits by that, but no other author's.
pub fn replay(sequence: &mut Sequence, edit: &EditView<'_>) -> bool {
    let seen = seen_in(edit.seen);
    let applied = sequence.apply(edit.author, edit.hlc, seen, edit.update);
    if let Err(refused) = &applied {
        tell_void(edit.author, refused);
    }
    applied.is_ok()
}

/// Begins the same, to be done in parts by [`Sequence::go_on_applying`] with what is
/// [`seen_in`] the edit. None if the edit is void; it can also turn out to be later.
pub fn begin_replay(sequence: &Sequence, edit: &EditView<'_>) -> Option<Arriving> {
    let begun = sequence.begin_apply(edit.author, edit.hlc, edit.update);
    begun
        .inspect_err(|refused| tell_void(edit.author, refused))
        .ok()
}

/// Up to which stamp an author was seen, by [`EditView::seen`].
pub fn seen_in(pairs: &[(NodeId, Hlc)]) -> impl Fn(&NodeId) -> Hlc {
    |author| {
        let found = pairs.binary_search_by_key(author, |(author, _)| *author);
        found.map_or(Hlc::ZERO, |at| pairs[at].1)
    }
}

/// Says of an edit that the sequence refuses it.
pub fn tell_void(author: NodeId, refused: &SequenceError) {
    tracing::debug!(%author, %refused, "an edit changes nothing");
}

/// A saved list or text that is being read, a part at a time.
#[derive(Debug)]
pub struct ReadingSaved {
    prefix: Vec<u8>,
    /// Without what is not read yet.
    saved: SavedSequence,
    part: u32,
    parts: u32,
    bytes: u64,
}

impl ReadingSaved {
    /// What there was under a prefix in this snapshot, in which it has to go on.
    fn begin(snapshot: &Snapshot, prefix: Vec<u8>) -> Result<Option<ReadingSaved>, StoreError> {
        let key = layout::saved_key(&prefix, 0);
        let Some(record) = snapshot.saved_record(&key)? else {
            return Ok(None);
        };
        let row = open::<SavedRow>(&key, record)?;
        let saved = SavedSequence {
            births: Births::from_rows(&row.births),
            edits: row.edits.to_native(),
            place: EditPlace(Dot {
                hlc: Hlc::from_bits(row.hlc.to_native()),
                author: row.author.to_native(),
            }),
            bytes: Vec::new(),
        };
        let (parts, bytes) = (row.parts.to_native(), row.bytes.to_native());
        Ok(Some(ReadingSaved {
            prefix,
            saved,
            part: 0,
            parts,
            bytes,
        }))
    }

    /// Reads a part of about a mebibyte; tells whether there is one more.
    pub fn step(&mut self, snapshot: &Snapshot) -> Result<bool, StoreError> {
        if self.part < self.parts {
            self.part += 1;
            let key = layout::saved_key(&self.prefix, self.part);
            let missing = || StoreError::corrupt("part of a saved list", &key, "it is missing");
            let record = snapshot.saved_record(&key)?.ok_or_else(missing)?;
            let part = open::<SavedPartRow>(&key, record)?;
            self.saved.bytes.extend_from_slice(part.bytes.get());
        }
        if self.part < self.parts {
            return Ok(true);
        }
        if self.saved.bytes.len() as u64 != self.bytes {
            let key = layout::saved_key(&self.prefix, 0);
            let why = "its parts have not the length that it says";
            return Err(StoreError::corrupt("saved list", &key, why));
        }
        Ok(false)
    }

    /// The bytes that it has or will have.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All that was read.
    pub fn end(self) -> SavedSequence {
        self.saved
    }

    fn read_all(mut self, snapshot: &Snapshot) -> Result<SavedSequence, StoreError> {
        while self.step(snapshot)? {}
        Ok(self.saved)
    }
}

impl Snapshot {
    /// Begins to read what was saved of a list or text, if it can be used: it is part of the
    /// sequence that there is.
    pub fn begin_saved(
        &self,
        slot: ContextSlot,
        space: Space,
        key: &[u8],
        kind: EntryKind,
    ) -> Result<Option<ReadingSaved>, StoreError> {
        let Some(facts) = self.sequence(slot, space, key, kind)? else {
            return Ok(None);
        };
        let mut prefix = Vec::new();
        layout::edits_prefix(&mut prefix, slot, space, key, kind);
        let reading = unless_damaged(ReadingSaved::begin(self, prefix))?.flatten();
        Ok(reading.filter(|reading| {
            reading.saved.births == facts.births && reading.saved.edits <= facts.edits
        }))
    }

    /// All of it at once.
    pub fn saved_sequence(
        &self,
        slot: ContextSlot,
        space: Space,
        key: &[u8],
        kind: EntryKind,
    ) -> Result<Option<SavedSequence>, StoreError> {
        match self.begin_saved(slot, space, key, kind)? {
            Some(reading) => unless_damaged(reading.read_all(self)),
            None => Ok(None),
        }
    }

    /// Whatever was saved under a prefix.
    pub(crate) fn read_saved(&self, prefix: &[u8]) -> Result<Option<SavedSequence>, StoreError> {
        let reading = ReadingSaved::begin(self, prefix.to_vec())?;
        reading.map(|reading| reading.read_all(self)).transpose()
    }

    /// Works out what is to be saved of a list or text now: the whole of it. None if
    /// there is none any more.
    ///
    /// Takes time in proportion to its length, so this is nothing for a thread that
    /// others wait for.
    pub fn save_sequence(&self, name: &SequenceName) -> Result<Option<SavedSequence>, StoreError> {
        let SequenceName {
            slot,
            space,
            key,
            kind,
        } = name;
        let Some(facts) = self.sequence(*slot, *space, key, *kind)? else {
            return Ok(None);
        };
        let known = self.saved_sequence(*slot, *space, key, *kind)?;
        if let Some(known) = known
            && let Some(saved) = self.go_on(name, &facts.births, facts.edits, Some(known))?
        {
            return Ok(Some(saved));
        }
        self.go_on(name, &facts.births, facts.edits, None)
    }

    /// A saved sequence with the edits since; none if these are not as many as there
    /// have to be, for then others have come in before its last one.
    fn go_on(
        &self,
        name: &SequenceName,
        births: &Births,
        edits: u64,
        known: Option<SavedSequence>,
    ) -> Result<Option<SavedSequence>, StoreError> {
        // Whoever saves it edits nothing.
        let nobody = NodeId::from_bytes([0; 32]);
        let kind = match name.kind {
            EntryKind::List => SequenceKind::List,
            _ => SequenceKind::Text,
        };
        let (mut sequence, mut count, mut place) = match known {
            None => (Sequence::new(kind, nobody), 0, EditPlace::behind(Hlc::ZERO)),
            Some(known) => match Sequence::open(nobody, &known.bytes) {
                Ok(sequence) => (sequence, known.edits, known.place),
                Err(_) => return Ok(None),
            },
        };
        let SequenceName {
            slot, space, key, ..
        } = name;
        self.edits_behind(*slot, *space, key, name.kind, place, &mut |edit| {
            replay(&mut sequence, &edit);
            count += 1;
            place = edit.place;
            ControlFlow::Continue(())
        })?;
        if count != edits {
            return Ok(None);
        }
        let bytes = sequence.save();
        Ok(bytes.ok().map(|bytes| SavedSequence {
            births: births.clone(),
            edits,
            place,
            bytes,
        }))
    }

    /// Compares what was saved under a prefix with the edits that it says it is made of.
    /// One that is not of the sequence that there is says nothing.
    pub(crate) fn check_saved(&self, name: &SequenceName) -> Result<(), StoreError> {
        let mut prefix = Vec::new();
        layout::edits_prefix(&mut prefix, name.slot, name.space, &name.key, name.kind);
        let Some(saved) = self.read_saved(&prefix)? else {
            return Ok(());
        };
        let facts = self.sequence(name.slot, name.space, &name.key, name.kind)?;
        if !facts.is_some_and(|facts| facts.births == saved.births && saved.edits <= facts.edits) {
            return Ok(());
        }
        let kind = match name.kind {
            EntryKind::List => SequenceKind::List,
            _ => SequenceKind::Text,
        };
        let mut sequence = Sequence::new(kind, NodeId::from_bytes([0; 32]));
        let (mut count, mut is_there) = (0, false);
        let SequenceName {
            slot, space, key, ..
        } = name;
        self.edits(*slot, *space, key, name.kind, &mut |edit| {
            replay(&mut sequence, &edit);
            count += 1;
            is_there = edit.place == saved.place;
            match is_there {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })?;
        // With others before its last edit it is not used.
        let is_used = is_there && count == saved.edits;
        if is_used && sequence.save().ok().as_ref() != Some(&saved.bytes) {
            let why = "it is not what its edits make";
            return Err(StoreError::corrupt("saved list", &prefix, why));
        }
        Ok(())
    }
}

/// None of what is damaged: a saved list or text can be done without.
pub fn unless_damaged<T>(read: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error @ StoreError::Corrupt { .. }) => {
            tracing::warn!(%error, "a saved list or text is made anew of its edits");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// See `LedgerWriter::keep_saved`. Nothing is kept of what was removed meanwhile: nobody
/// would sweep it.
pub(crate) fn keep(
    env: &Env<WithoutTls>,
    tables: Tables,
    name: &SequenceName,
    saved: &SavedSequence,
) -> Result<bool, StoreError> {
    let failed = |error| engine_error("save a list in", error, env);
    let mut txn = env.write_txn().map_err(failed)?;
    let head = tables.heads.get(&txn, &layout::slot_key(name.slot));
    if head.map_err(failed)?.is_none() {
        return Ok(false); // its context is gone, and is about to be swept
    }
    let mut prefix = Vec::new();
    layout::edits_prefix(&mut prefix, name.slot, name.space, &name.key, name.kind);
    let authors = Authors::load(env, tables, &txn)?;
    let mut births: Vec<Dot> = saved
        .births
        .view()
        .iter()
        .map(|birth| Dot {
            author: authors.find(birth.author).unwrap_or(u32::MAX),
            hlc: birth.hlc,
        })
        .collect();
    births.sort_unstable();
    if births != sweep::alive_births(env, tables, &txn, &prefix, &name.key)? {
        return Ok(false);
    }
    drop_all(&mut txn, tables, &prefix).map_err(failed)?;
    let mut record = Vec::new();
    let parts = saved.bytes.chunks(PART_BYTES);
    let row = SavedRow {
        births: saved.births.rows(),
        edits: saved.edits,
        hlc: saved.place.0.hlc.bits(),
        author: saved.place.0.author,
        parts: parts.len() as u32,
        bytes: saved.bytes.len() as u64,
    };
    let key = layout::saved_key(&prefix, 0);
    seal(&mut record, &key, &row);
    tables.saved.put(&mut txn, &key, &record).map_err(failed)?;
    for (part, bytes) in (1..).zip(parts) {
        let key = layout::saved_key(&prefix, part);
        seal(&mut record, &key, &SavedPartRow { bytes });
        tables.saved.put(&mut txn, &key, &record).map_err(failed)?;
    }
    txn.commit().map_err(|error| commit_error(error, env))?;
    Ok(true)
}

/// Drops what was saved under a prefix, and gives how many records that were.
pub(crate) fn drop_all(
    txn: &mut heed::RwTxn<'_>,
    tables: Tables,
    prefix: &[u8],
) -> heed::Result<usize> {
    let mut part = 0;
    while tables.saved.delete(txn, &layout::saved_key(prefix, part))? {
        part += 1;
    }
    Ok(part as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_when_it_has_grown_by_a_quarter() {
        let due: Vec<u64> = (1..20_000).filter(|n| is_due(n - 1, *n)).collect();
        assert_eq!(due[..3], [4096, 5120, 6400]);
        assert!(due.windows(2).all(|two| two[1] * 4 <= two[0] * 5));
        assert!(!is_due(4096, 5119));
        assert!(is_due(0, 1 << 40), "a large edit, as well");
        assert_eq!(weight(3, 640), 13);
    }
}
