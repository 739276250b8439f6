//! Edits of a list or text that lie next to each other, packed into one record: a keystroke by itself
//! takes some 145 bytes with its key and births, in a pack some 27. Nothing is lost: what is read is
//! what was put in (`edits.rs`), so digests and copies are the same, and a pack is of no weight for what
//! is merged. Packs of a sequence do not overlap; an edit that comes late, with a stamp within a
//! pack, stays by itself. When edits are packed, is in `apply/compact.rs`.

use std::collections::HashMap;

use crate::delta::BIRTH_BYTES;
use crate::edits::StoredEdit;
use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::layout;
use crate::record::{
    ArchivedPackRow, PackRow, PackedBasisRow, PackedEditRow, RecordKind, SeenRow, open, seal,
};
use crate::version::{Dot, VersionVector};

/// Edits of one pack, at most. More would be hardly any smaller.
pub(crate) const PACK_EDITS_MAX: usize = 128;

/// Bytes of updates and of what was seen in one pack, at most.
const PACK_BYTES_MAX: usize = 16 << 10;

/// What an edit may have to be packed: its own bytes are little beside what it takes by itself.
const PACKED_BYTES_MAX: usize = 1 << 10;
const PACKED_SEEN_MAX: usize = 64;
const PACKED_BIRTHS_MAX: usize = 16;

const _: () = assert!(PACK_EDITS_MAX <= u8::MAX as usize);
const _: () = assert!(PACKED_SEEN_MAX <= u8::MAX as usize);
const _: () = assert!(PACKED_BYTES_MAX <= u16::MAX as usize);

/// A pack that is being made.
#[derive(Default)]
pub(crate) struct Packing<'t> {
    authors: Vec<u32>,
    births: Vec<[u8; BIRTH_BYTES]>,
    bases: Vec<PackedBasisRow>,
    known: HashMap<(&'t [[u8; BIRTH_BYTES]], bool), u8>,
    edits: Vec<PackedEditRow>,
    seen: Vec<SeenRow>,
    updates: Vec<u8>,
    last: Option<Dot>,
}

/// No record of an edit that can be packed is longer: others need not be read to know.
pub(crate) const PACKED_RECORD_BYTES_MAX: usize =
    PACKED_BYTES_MAX + PACKED_BIRTHS_MAX * BIRTH_BYTES + 64;

/// Whether an edit that had seen this can be packed.
pub(crate) fn is_small(edit: &StoredEdit<'_>, seen: &VersionVector) -> bool {
    edit.update().len() <= PACKED_BYTES_MAX
        && edit.births().len() <= PACKED_BIRTHS_MAX
        && seen.pairs().len() <= PACKED_SEEN_MAX
}

impl<'t> Packing<'t> {
    /// Puts an edit behind the others, which are before it. `false` if there is no room for it.
    pub(crate) fn add(&mut self, edit: &StoredEdit<'t>, seen: &VersionVector) -> bool {
        let seen_bytes = (self.seen.len() + seen.pairs().len()) * size_of::<SeenRow>();
        let bytes = self.updates.len() + edit.update().len() + seen_bytes;
        if self.edits.len() >= PACK_EDITS_MAX || (bytes > PACK_BYTES_MAX && !self.edits.is_empty())
        {
            return false;
        }
        let author = self.author(edit.dot.author);
        let basis = self.basis(edit.birth_rows(), edit.linked().is_some());
        self.edits.push(PackedEditRow {
            hlc: edit.dot.hlc.bits(),
            update_bytes: edit.update().len() as u16,
            author,
            basis,
            seen: seen.pairs().len() as u8,
        });
        self.updates.extend_from_slice(edit.update());
        let seen = seen.pairs().iter();
        self.seen.extend(seen.map(|&(author, hlc)| SeenRow {
            author,
            hlc: hlc.bits(),
        }));
        self.last = Some(edit.dot);
        true
    }

    fn author(&mut self, number: u32) -> u8 {
        let known = self.authors.iter().position(|author| *author == number);
        known.unwrap_or_else(|| {
            self.authors.push(number);
            self.authors.len() - 1
        }) as u8
    }

    fn basis(&mut self, births: &'t [[u8; BIRTH_BYTES]], is_linked: bool) -> u8 {
        *self.known.entry((births, is_linked)).or_insert_with(|| {
            self.births.extend_from_slice(births);
            self.bases.push(PackedBasisRow {
                births: births.len() as u8,
                is_linked,
            });
            self.bases.len() as u8 - 1
        })
    }

    /// Writes its record into `out`, and gives its key, which begins with `prefix`. None if it is empty.
    pub(crate) fn seal(&self, prefix: &[u8], out: &mut Vec<u8>) -> Option<Vec<u8>> {
        let mut key = prefix.to_vec();
        key.extend_from_slice(&layout::edit_suffix(self.last?));
        let row = PackRow {
            authors: &self.authors,
            births: &self.births,
            bases: &self.bases,
            edits: &self.edits,
            seen: &self.seen,
            updates: &self.updates,
        };
        seal(out, &key, &row);
        Some(key)
    }
}

/// A pack as stored, of which the edits are read one after the other.
#[derive(Clone)]
pub(crate) struct PackView<'t> {
    pub(crate) key: &'t [u8],
    row: &'t ArchivedPackRow<'t>,
    stored_bytes: u64,
    /// Of the next edit: which it is, and where it lies.
    at: usize,
    seen_at: usize,
    update_at: usize,
}

/// An edit in a pack.
pub(crate) struct PackedEdit<'t> {
    pub(crate) dot: Dot,
    pub(crate) births: &'t [[u8; BIRTH_BYTES]],
    pub(crate) is_linked: bool,
    pub(crate) update: &'t [u8],
    pub(crate) seen: VersionVector,
    /// Its share of the bytes of key and record.
    pub(crate) stored_bytes: u64,
}

impl<'t> PackView<'t> {
    /// The pack under `key`, of which every edit was looked at.
    pub(crate) fn read(key: &'t [u8], bytes: &'t [u8]) -> Result<PackView<'t>, StoreError> {
        let corrupt = |why| StoreError::corrupt(RecordKind::Pack.what(), key, why);
        let pack = PackView {
            key,
            row: open::<PackRow<'_>>(key, bytes)?,
            stored_bytes: (key.len() + bytes.len()) as u64,
            at: 0,
            seen_at: 0,
            update_at: 0,
        };
        let bytes = pack.row.updates.len() + pack.row.seen.len() * size_of::<SeenRow>();
        if pack.len() > PACK_EDITS_MAX || bytes > PACK_BYTES_MAX {
            return Err(corrupt("it has more than fits into one"));
        }
        let mut rest = pack.clone();
        let mut last = None;
        while rest.at < rest.row.edits.len() {
            let edit = rest
                .next()
                .ok_or_else(|| corrupt("it has less than it says"))?;
            let place = Some((edit.dot.hlc, edit.dot.author));
            if place <= last {
                return Err(corrupt("its edits are not in order"));
            }
            last = place;
        }
        let is_all =
            rest.seen_at == rest.row.seen.len() && rest.update_at == rest.row.updates.len();
        let end = layout::edit_dot(key).map(|dot| (dot.hlc, dot.author));
        match is_all && last.is_some() && last == end {
            true => Ok(pack),
            false => Err(corrupt(
                "its last edit is not the one of its key, or it has more than it says",
            )),
        }
    }

    /// The same from its first edit on.
    pub(crate) fn whole(&self) -> PackView<'t> {
        PackView {
            at: 0,
            seen_at: 0,
            update_at: 0,
            ..self.clone()
        }
    }

    /// How many edits it has.
    pub(crate) fn len(&self) -> usize {
        self.row.edits.len()
    }

    /// Whom it names: authors of its edits, and of what they had seen.
    pub(crate) fn authors(&self) -> impl Iterator<Item = u32> {
        let seen = self.row.seen.iter().map(|row| row.author.to_native());
        self.row
            .authors
            .iter()
            .map(|author| author.to_native())
            .chain(seen)
    }

    /// The dot of the next edit.
    pub(crate) fn next_dot(&self) -> Option<Dot> {
        let edit = self.row.edits.get().get(self.at)?;
        Some(Dot {
            author: self
                .row
                .authors
                .get()
                .get(usize::from(edit.author))?
                .to_native(),
            hlc: Hlc::from_bits(edit.hlc.to_native()),
        })
    }

    /// The births of a basis, and whether it is linked.
    fn basis(&self, at: u8) -> Option<(&'t [[u8; BIRTH_BYTES]], bool)> {
        let basis = self.row.bases.get().get(usize::from(at))?;
        let before = &self.row.bases[..usize::from(at)];
        let start: usize = before.iter().map(|basis| usize::from(basis.births)).sum();
        let births = self
            .row
            .births
            .get()
            .get(start..start + usize::from(basis.births))?;
        Some((births, basis.is_linked))
    }
}

impl<'t> Iterator for PackView<'t> {
    type Item = PackedEdit<'t>;

    /// The next edit; none if there is none, or the record says of it what is not there.
    fn next(&mut self) -> Option<PackedEdit<'t>> {
        let dot = self.next_dot()?;
        let edit = &self.row.edits[self.at];
        let (births, is_linked) = self.basis(edit.basis)?;
        let update_end = self.update_at + usize::from(edit.update_bytes.to_native());
        let update = self.row.updates.get().get(self.update_at..update_end)?;
        let seen_end = self.seen_at + usize::from(edit.seen);
        let seen = self.row.seen.get().get(self.seen_at..seen_end)?.iter();
        let seen = seen.map(|row| (row.author.to_native(), Hlc::from_bits(row.hlc.to_native())));
        let seen = VersionVector::from_pairs(seen)?;
        (self.at, self.update_at, self.seen_at) = (self.at + 1, update_end, seen_end);
        Some(PackedEdit {
            dot,
            births,
            is_linked,
            update,
            seen,
            stored_bytes: self.stored_bytes / self.row.edits.len() as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::delta::BirthsView;
    use crate::record::seal_edit;
    use crate::sequence::{Content, Sequence, SequenceKind};

    const PREFIX: &[u8] = b"twenty-five bytes of name";

    fn key(dot: Dot) -> Vec<u8> {
        [PREFIX, &layout::edit_suffix(dot)].concat()
    }

    fn record(key: &[u8], births: &[[u8; BIRTH_BYTES]], is_linked: bool, update: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let births = BirthsView::of(births, is_linked).unwrap();
        seal_edit(&mut out, key, births, update, false);
        out
    }

    /// Somebody types a letter a call: so large is what 0018 and the specification say.
    #[test]
    fn a_letter_takes_little_in_a_pack() {
        let mut text = Sequence::new(SequenceKind::Text, crate::NodeId::from_bytes([3; 32]));
        let births = [[5; BIRTH_BYTES]];
        let letters = (0..100_000_u64).map(|n| {
            let hlc = Hlc::from_micros(1_800_000_000_000_000 + n * 150_000);
            text.insert(n as usize, Content::Text("x".into())).unwrap();
            let key = key(Dot { author: 1, hlc });
            let record = record(
                &key,
                &births,
                true,
                &text.take_update(hlc).unwrap().unwrap(),
            );
            (key, record)
        });
        let rows: Vec<_> = letters.skip(100_000 - PACK_EDITS_MAX).collect();
        let alone: usize = rows
            .iter()
            .map(|(key, record)| key.len() + record.len())
            .sum();
        let mut packing = Packing::default();
        for (key, record) in &rows {
            let edit = StoredEdit::alone(key, record).unwrap();
            let seen = VersionVector::default();
            assert!(is_small(&edit, &seen) && packing.add(&edit, &seen));
        }
        let mut record = Vec::new();
        let key = packing.seal(PREFIX, &mut record).unwrap();
        let packed = key.len() + record.len();
        println!("{alone} bytes alone, {packed} in a pack");
        assert!(packed < 30 * PACK_EDITS_MAX, "{packed}");
        assert!(alone > 4 * packed, "{alone} and {packed}");
    }

    proptest! {
        #[test]
        fn edits_come_out_of_a_pack_as_they_went_in(
            edits in prop::collection::vec(
                (1..5_u64, 0..3_u32, 0..4_usize, any::<bool>(), prop::collection::vec(any::<u8>(), 0..300), 0..3_u32),
                1..140,
            ),
        ) {
            let bases: Vec<Vec<[u8; BIRTH_BYTES]>> =
                (0..4_u8).map(|n| (0..n).map(|birth| [birth; BIRTH_BYTES]).collect()).collect();
            let mut hlc = 1 << 40;
            let mut rows = Vec::new();
            for (step, author, basis, is_linked, update, seen) in &edits {
                hlc += step;
                let dot = Dot { author: *author, hlc: Hlc::from_bits(hlc) };
                let key = key(dot);
                let record = record(&key, &bases[*basis], *is_linked, update);
                let seen = (0..*seen).map(|author| (author, Hlc::from_bits(hlc - 1)));
                rows.push((key, record, VersionVector::from_pairs(seen).unwrap()));
            }
            let mut packing = Packing::default();
            let mut count = 0;
            for (key, record, seen) in &rows {
                if !packing.add(&StoredEdit::alone(key, record).unwrap(), seen) {
                    break;
                }
                count += 1;
            }
            let mut packed = Vec::new();
            let pack_key = packing.seal(PREFIX, &mut packed).unwrap();
            prop_assert_eq!(&pack_key, &rows[count - 1].0);
            prop_assert!(count == rows.len() || count == PACK_EDITS_MAX || packed.len() > PACK_BYTES_MAX - 400);
            let pack = PackView::read(&pack_key, &packed).unwrap();
            prop_assert_eq!(pack.len(), count);
            for (edit, (key, record, seen)) in pack.zip(&rows) {
                let alone = StoredEdit::alone(key, record).unwrap();
                prop_assert_eq!(edit.dot, alone.dot);
                prop_assert_eq!(edit.births, alone.birth_rows());
                prop_assert_eq!(edit.is_linked, alone.linked().is_some());
                prop_assert_eq!(edit.update, alone.update());
                prop_assert_eq!(&edit.seen, seen);
            }
        }

        /// A record that is whole, and says of itself what is not so.
        #[test]
        fn a_pack_that_contradicts_itself_is_refused(
            authors in prop::collection::vec(0..3_u32, 0..3),
            births in 0..4_usize,
            bases in prop::collection::vec((0..4_u8, any::<bool>()), 0..3),
            edits in prop::collection::vec((0..4_u64, 0..4_u16, 0..3_u8, 0..3_u8, 0..3_u8), 0..4),
            seen in prop::collection::vec((0..3_u32, 0..3_u64), 0..4),
            updates in 0..8_usize,
            last in (0..3_u32, 0..4_u64),
            // What of it is as it should be.
            (is_sorted, is_long, is_last) in any::<(bool, bool, bool)>(),
        ) {
            let (mut edits, mut last, mut updates) = (edits, last, updates);
            if is_sorted {
                edits.sort_unstable();
            }
            if is_long {
                updates = edits.iter().map(|edit| usize::from(edit.1)).sum();
            }
            if is_last && let Some(edit) = edits.last()
                && let Some(author) = authors.get(usize::from(edit.2))
            {
                last = (*author, edit.0);
            }
            let updates = vec![7; updates];
            let births = vec![[5; BIRTH_BYTES]; births];
            let basis = |(births, is_linked)| PackedBasisRow { births, is_linked };
            let edit = |(hlc, update_bytes, author, basis, seen)| PackedEditRow {
                hlc, update_bytes, author, basis, seen,
            };
            let row = |(author, hlc)| SeenRow { author, hlc };
            let row = PackRow {
                authors: &authors,
                births: &births,
                bases: &bases.iter().copied().map(basis).collect::<Vec<_>>(),
                edits: &edits.iter().copied().map(edit).collect::<Vec<_>>(),
                seen: &seen.iter().copied().map(row).collect::<Vec<_>>(),
                updates: &updates,
            };
            let key = key(Dot { author: last.0, hlc: Hlc::from_bits(last.1) });
            let mut record = Vec::new();
            seal(&mut record, &key, &row);
            let sum = |count: fn(&(u64, u16, u8, u8, u8)) -> usize| edits.iter().map(count).sum::<usize>();
            let stamps = |at: usize, count: usize| {
                let seen = seen.get(at..at + count)?;
                seen.is_sorted_by(|(a, _), (b, _)| a < b).then_some(())
            };
            let mut at = 0;
            let is_whole = !edits.is_empty()
                && edits.is_sorted_by(|a, b| (a.0, authors.get(usize::from(a.2))) < (b.0, authors.get(usize::from(b.2))))
                && sum(|edit| usize::from(edit.1)) == updates.len()
                && sum(|edit| usize::from(edit.4)) == seen.len()
                && edits.iter().all(|&(_, _, author, basis, count)| {
                    let begin = at;
                    at += usize::from(count);
                    let births_of = |bases: &[(u8, bool)]| bases.iter().map(|basis| usize::from(basis.0)).sum::<usize>();
                    usize::from(author) < authors.len()
                        && usize::from(basis) < bases.len()
                        && births_of(&bases[..=usize::from(basis)]) <= births.len()
                        && stamps(begin, usize::from(count)).is_some()
                })
                && edits.last().is_some_and(|edit| last == (authors[usize::from(edit.2)], edit.0));
            match PackView::read(&key, &record) {
                Ok(pack) => {
                    prop_assert!(is_whole);
                    let dots: Vec<Dot> = pack.clone().map(|edit| edit.dot).collect();
                    prop_assert_eq!(dots.len(), edits.len());
                    prop_assert_eq!(layout::edit_dot(&key), dots.last().copied());
                    let bytes: usize = pack.map(|edit| edit.update.len()).sum();
                    prop_assert_eq!(bytes, updates.len());
                }
                Err(error) => prop_assert!(!is_whole, "{}", error),
            }
        }
    }
}
