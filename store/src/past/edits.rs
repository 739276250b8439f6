//! The edits that a list or text had. They have rows of their own as long as the sequence has
//! them; what a removal has left is swept, and then only the log may have it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use super::{Base, PastState, dots};
use crate::authors::Authors;
use crate::delta::{BIRTH_BYTES, BirthsView, STAMP_BYTES, WriteView};
use crate::edits::{self, Basis, EditError, SeenOfNamed, StoredEdit, is_beneath, is_part};
use crate::entry::{EntryKind, SequenceState, Space};
use crate::error::{PastError, StoreError};
use crate::hlc::Hlc;
use crate::ids::DeltaId;
use crate::layout;
use crate::snapshot::unreadable;
use crate::version::{Dot, VersionVector};

/// An edit as it was made.
#[derive(Clone)]
pub(super) struct PastEdit<'s> {
    pub(super) dot: Dot,
    pub(super) births: Vec<Dot>,
    /// They by name, if the digest of its chain tells of what it builds on.
    pub(super) linked: Option<&'s [[u8; BIRTH_BYTES]]>,
    /// What it had seen of those whom it names; if it is not linked, of others as well.
    pub(super) seen: Rc<VersionVector>,
    pub(super) update: &'s [u8],
    /// See [`SeenOfNamed`].
    seen_of_named: Rc<[[u8; BIRTH_BYTES]]>,
}

/// Edits of an entry, each behind all that its delta had seen.
pub(super) type PastEdits<'s> = BTreeMap<(EntryKind, Hlc, u32), PastEdit<'s>>;

impl<'s> PastEdit<'s> {
    /// One that is stored, and had seen this.
    pub(super) fn stored(
        authors: &Authors,
        stored: &StoredEdit<'s>,
        seen: VersionVector,
    ) -> PastEdit<'s> {
        let named = SeenOfNamed::stored(&seen, |number| authors.get(number));
        let named = named.filter(|_| stored.linked().is_some());
        PastEdit {
            dot: stored.dot,
            births: dots(authors, stored.births()),
            linked: stored.linked(),
            seen: Rc::new(seen),
            update: stored.update(),
            seen_of_named: named.unwrap_or_default().by_name.into(),
        }
    }

    /// One as its delta has it, which had seen `past`. None if it is one that counts nowhere, as it does not say
    /// what it had seen.
    pub(super) fn in_delta(
        authors: &Authors,
        dot: Dot,
        (births, said, update): (BirthsView<'s>, &[[u8; STAMP_BYTES]], &'s [u8]),
        past: &Rc<VersionVector>,
    ) -> Option<PastEdit<'s>> {
        let (seen, by_name) = match births.are_linked() {
            true => {
                let named = SeenOfNamed::told(dot.author, update, said, authors)?;
                (Rc::new(named.by_number), named.by_name)
            }
            false => (Rc::clone(past), Vec::new()),
        };
        Some(PastEdit {
            dot,
            births: dots(authors, births.iter()),
            linked: births.linked(),
            seen,
            update,
            seen_of_named: by_name.into(),
        })
    }

    /// Whether it builds on no births but those of another.
    fn is_beneath(&self, other: &PastEdit<'_>) -> bool {
        let is_one = |birth: &Dot| other.births.binary_search(birth).is_ok();
        match &self.births[..] {
            [] => is_one(&self.dot),
            births => births.iter().all(is_one),
        }
    }

    pub(super) fn basis(&self) -> Option<Basis<'_>> {
        self.linked.map(|births| Basis {
            births,
            seen: &self.seen_of_named,
        })
    }

    pub(super) fn is_part(&self, of: &SequenceState) -> bool {
        is_part(&of.births, self.dot, &self.births)
    }

    /// Puts it among others. `false` if it is there.
    pub(super) fn note(self, kind: EntryKind, edits: &mut PastEdits<'s>) -> bool {
        let name = (kind, self.dot.hlc, self.dot.author);
        edits.insert(name, self).is_none()
    }
}

/// The edits that the log has of entries that are not as they are now: of all others every
/// edit is stored.
pub(super) struct EditsInLog<'s> {
    /// Those of each, the newest first.
    of: HashMap<(Space, &'s [u8]), Vec<EditInLog<'s>>>,
    /// Why it was not looked further, if it was not.
    cut_by: Option<PastError>,
}

/// One of them. What it is stays where the log has it, so that its delta, which may have as many
/// more, is read once for all.
struct EditInLog<'s> {
    delta: Rc<DeltaInLog>,
    kind: EntryKind,
    births: BirthsView<'s>,
    seen: &'s [[u8; STAMP_BYTES]],
    update: &'s [u8],
}

/// What has it.
struct DeltaInLog {
    position: u64,
    dot: Dot,
    id: DeltaId,
}

impl<'s> PastState<'s> {
    /// Completes the edits of a list or text of which `had` is what its entry says. Made anew
    /// of all deltas, the state has them all.
    pub(super) fn find_edits(
        &self,
        (space, key, kind): (Space, &[u8], EntryKind),
        had: &SequenceState,
        edits: &mut PastEdits<'s>,
    ) -> Result<(), PastError> {
        let Some(base) = &self.base else {
            return Ok(());
        };
        self.find_stored(base, (space, key, kind), had, edits)?;
        if missing(had, kind, edits) == 0 {
            return Ok(());
        }
        let in_log = match base.edits_in_log.get() {
            Some(in_log) => in_log,
            None => {
                let found = self.edits_in_log(base)?;
                base.edits_in_log.get_or_init(|| found)
            }
        };
        let found = in_log.of.get(&(space, key));
        let found = found.map_or(&[][..], Vec::as_slice);
        self.find_in_log(base, found, kind, had, edits)?;
        if missing(had, kind, edits) == 0 {
            return Ok(());
        }
        let delta = base.delta;
        let key = String::from_utf8_lossy(key).into_owned();
        Err(match in_log.cut_by {
            Some(PastError::TooLong { limit, max }) => PastError::EditsTooFar {
                delta,
                kind,
                key,
                limit,
                max,
            },
            _ => PastError::EditsNotRetained { delta, kind, key },
        })
    }

    /// Completes edits by those that have rows of their own.
    fn find_stored(
        &self,
        base: &Base<'s>,
        (space, key, kind): (Space, &[u8], EntryKind),
        had: &SequenceState,
        edits: &mut PastEdits<'s>,
    ) -> Result<(), PastError> {
        let snapshot = base.log.snapshot;
        let mut prefix = Vec::new();
        layout::edits_prefix(&mut prefix, base.log.slot, space, key, kind);
        let stored = edits::read(&snapshot.tables, &snapshot.txn, &prefix, &[]);
        for stored in stored.map_err(unread)? {
            self.bounds.go_on()?;
            let stored = stored.map_err(unread)?;
            if !base.has.has_seen(stored.dot) {
                continue;
            }
            let seen = stored.seen(&snapshot.tables, &snapshot.txn);
            let edit = PastEdit::stored(&self.authors, &stored, seen.map_err(unread)?);
            if !edit.is_part(had) {
                continue;
            }
            edit.note(kind, edits);
        }
        Ok(())
    }

    /// Whether what an edit says that it had seen is there, and was seen. What a removal has taken
    /// that has left no record is believed: the root shows whether that is right.
    pub(super) fn is_sound(
        &self,
        (space, key, kind): (Space, &[u8], EntryKind),
        edit: &PastEdit<'_>,
        past: &VersionVector,
    ) -> Result<bool, PastError> {
        if edit.linked.is_none() {
            return Ok(true);
        }
        let entry = self.entries.get(&(space, key.to_vec()));
        for &(author, hlc) in edit.seen.pairs() {
            let dot = Dot { author, hlc };
            let merged = entry.and_then(|entry| entry.edits.get(&(kind, hlc, author)));
            let is_there = match (merged, &self.base) {
                (Some(other), _) => other.is_beneath(edit),
                (None, None) => false,
                (None, Some(base)) => {
                    let snapshot = base.log.snapshot;
                    let mut prefix = Vec::new();
                    layout::edits_prefix(&mut prefix, base.log.slot, space, key, kind);
                    let found = edits::find(&snapshot.tables, &snapshot.txn, &prefix, dot);
                    match (found.map_err(unread)?, self.authors.get(author)) {
                        (Some(other), Some(name)) => {
                            is_beneath(&other, name, edit.linked.unwrap_or_default())
                        }
                        _ => true,
                    }
                }
            };
            if !is_there || !past.has_seen(dot) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Walks through the log once for all of them.
    fn edits_in_log(&self, base: &Base<'s>) -> Result<EditsInLog<'s>, PastError> {
        let wanted = self.entries.keys();
        let wanted: HashSet<(Space, &[u8])> =
            wanted.map(|(space, key)| (*space, &key[..])).collect();
        let mut of: HashMap<(Space, &'s [u8]), Vec<EditInLog<'s>>> = HashMap::new();
        let mut position = base.log.head.log_last;
        let (mut deltas, mut writes) = (0, 0);
        let mut cut_by = None;
        while position > base.log.head.log_pruned {
            self.bounds.go_on()?;
            let logged = base.log.at(&self.authors, position)?;
            deltas += 1;
            writes += u64::from(logged.delta.op_count());
            let within = self.bounds.check_deltas(deltas);
            let within = within.and_then(|()| self.bounds.check_writes(writes));
            cut_by = within.err();
            if cut_by.is_some() {
                break;
            }
            let mut delta = None;
            for op in logged.delta.ops() {
                let WriteView::Edit {
                    kind,
                    births,
                    seen,
                    update,
                } = op.write
                else {
                    continue;
                };
                let entry = (op.space, op.key);
                if !wanted.contains(&entry) {
                    continue;
                }
                let delta = delta.get_or_insert_with(|| {
                    Rc::new(DeltaInLog {
                        position,
                        dot: logged.dot,
                        id: logged.delta.id(),
                    })
                });
                of.entry(entry).or_default().push(EditInLog {
                    delta: Rc::clone(delta),
                    kind,
                    births,
                    seen,
                    update,
                });
            }
            position = logged.previous;
        }
        Ok(EditsInLog { of, cut_by })
    }

    /// Completes edits by those that are swept, and whose deltas are not pruned.
    fn find_in_log(
        &self,
        base: &Base<'s>,
        found: &[EditInLog<'s>],
        kind: EntryKind,
        had: &SequenceState,
        edits: &mut PastEdits<'s>,
    ) -> Result<(), PastError> {
        let mut missing = missing(had, kind, edits);
        for EditInLog {
            delta,
            kind: of,
            births,
            seen,
            update,
        } in found
        {
            if missing == 0 {
                break;
            }
            if *of != kind || !base.has.has_seen(delta.dot) {
                continue;
            }
            // Where one node alone writes nothing is read for it.
            if base.log.head.is_shared {
                self.bounds.go_on()?;
            }
            let log = &base.log;
            let past = log.seen_by_id(delta.position, delta.dot, || delta.id)?;
            let past = Rc::new(past.unwrap_or_default());
            let said = (*births, *seen, *update);
            let edit = PastEdit::in_delta(&self.authors, delta.dot, said, &past);
            let Some(edit) = edit.filter(|edit| edit.is_part(had)) else {
                continue;
            };
            // One that names what its author cannot have seen was never part of it.
            if edit.births.iter().all(|birth| past.has_seen(*birth)) {
                missing = missing.saturating_sub(u64::from(edit.note(kind, edits)));
            }
        }
        Ok(())
    }
}

fn unread(error: EditError) -> StoreError {
    match error {
        EditError::Engine(error) => unreadable(error),
        EditError::Damaged(error) => error,
    }
}

/// How many edits there are fewer than the entry says, or more.
fn missing(had: &SequenceState, kind: EntryKind, edits: &PastEdits<'_>) -> u64 {
    let mut found: BTreeMap<u32, u64> = BTreeMap::new();
    for ((of, _, author), edit) in edits {
        if *of == kind && edit.is_part(had) {
            *found.entry(*author).or_default() += 1;
        }
    }
    let chains = had.chains.iter();
    let differs = chains.map(|chain| {
        let found = found.get(&chain.last.author).copied();
        found.unwrap_or_default().abs_diff(chain.edits)
    });
    differs.sum()
}
