//! The edits that a list or text had. They have rows of their own as long as the sequence has
//! them; what a removal has left is swept, and then only the log may have it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use super::{Base, PastState, dots};
use crate::delta::{BirthsView, WriteView};
use crate::edits::{self, EditError, is_part};
use crate::entry::{EntryKind, SequenceState, Space};
use crate::error::PastError;
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
    /// What its delta had seen; of authors that have nothing to do with it, perhaps not.
    pub(super) seen: Rc<VersionVector>,
    pub(super) update: &'s [u8],
}

/// Edits of an entry, each behind all that its delta had seen.
pub(super) type PastEdits<'s> = BTreeMap<(EntryKind, Hlc, u32), PastEdit<'s>>;

impl<'s> PastEdit<'s> {
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
        let unread = |error| match error {
            EditError::Engine(error) => unreadable(error),
            EditError::Damaged(error) => error,
        };
        let snapshot = base.log.snapshot;
        let mut prefix = Vec::new();
        layout::edits_prefix(&mut prefix, base.log.slot, space, key, kind);
        let stored = edits::read(snapshot.tables.edits, &snapshot.txn, &prefix, &[]);
        for stored in stored.map_err(unread)? {
            self.bounds.go_on()?;
            let stored = stored.map_err(unread)?;
            if !base.has.has_seen(stored.dot) {
                continue;
            }
            let mut edit = PastEdit {
                dot: stored.dot,
                births: dots(&self.authors, stored.births()),
                seen: Rc::default(),
                update: stored.update(),
            };
            if !edit.is_part(had) {
                continue;
            }
            match snapshot.edit_seen(stored.key)? {
                Some(seen) => edit.seen = Rc::new(seen),
                None if stored.has_seen => {
                    return Err(edits::seen_is_missing(stored.key).into());
                }
                None => {}
            }
            edit.note(kind, edits);
        }
        Ok(())
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
            update,
        } in found
        {
            if missing == 0 {
                break;
            }
            if *of != kind || !base.has.has_seen(delta.dot) {
                continue;
            }
            let mut edit = PastEdit {
                dot: delta.dot,
                births: dots(&self.authors, births.iter()),
                seen: Rc::default(),
                update,
            };
            if !edit.is_part(had) {
                continue;
            }
            // Where one node alone writes nothing is read for it.
            if base.log.head.is_shared {
                self.bounds.go_on()?;
            }
            let log = &base.log;
            let seen = log.seen_by_id(delta.position, delta.dot, || delta.id)?;
            edit.seen = Rc::new(seen.unwrap_or_default());
            // One that names what its author cannot have seen was never part of it.
            if edit.births.iter().all(|birth| edit.seen.has_seen(*birth)) {
                missing = missing.saturating_sub(u64::from(edit.note(kind, edits)));
            }
        }
        Ok(())
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
