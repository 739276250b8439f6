//! Records read into what the rest of the store works with, and written from it. Contexts and
//! heads are in `context.rs`, the archives in `rows.rs`.

use bytes::Bytes;

use super::rows::{
    AnswerAgeRow, AnswerRow, AnswerTally, ApplicationRow, ApplicationWithSettingsRow,
    ArchivedEditRow, AuthorRow, DagRow, EditAfterOthersRow, EditRow, EditSeenRow, EntryRow,
    EventRow, LinkedEditAfterOthersRow, LinkedEditRow, LogRow, LogWithBeforesRow, NameRow,
    SECTIONS,
};
use super::{RecordKind, check_sum, id_key, open, open_summed, read_seen, seal, seen_rows};
use crate::answer::{KeptAnswer, RequestDigest, Said};
use crate::befores::{Before, Reading};
use crate::change::ApplicationRecord;
use crate::delta::{BirthsView, DeltaView, OpView};
use crate::entry::{EntryKind, State, Stored, Value};
use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::ids::{ApplicationId, ContextId, ContextSlot, DeltaId, NodeId, Root};
use crate::reuse::Reuse;
use crate::version::{Dot, VersionVector};

/// The record of an edit, as stored.
pub(crate) struct EditRecord<'a> {
    pub(crate) row: &'a ArchivedEditRow<'a>,
    /// Whether it says that there is a record of what it had seen.
    pub(crate) has_seen: bool,
    /// Whether the digest of its chain tells of what it builds on.
    pub(crate) is_linked: bool,
}

impl<'a> EditRecord<'a> {
    /// What it builds on; none if that is not in order.
    pub(crate) fn births(&self) -> Option<BirthsView<'a>> {
        BirthsView::of(self.row.births.get(), self.is_linked)
    }
}

/// Writes the record of an edit. `has_seen` says whether there is one of what it had seen.
pub(crate) fn seal_edit(
    out: &mut Vec<u8>,
    key: &[u8],
    births: BirthsView<'_>,
    update: &[u8],
    has_seen: bool,
) {
    let edit = EditRow {
        births: births.as_slice(),
        update,
    };
    match (births.are_linked(), has_seen) {
        (false, false) => seal(out, key, &edit),
        (false, true) => seal(out, key, &EditAfterOthersRow { edit }),
        (true, false) => seal(out, key, &LinkedEditRow { edit }),
        (true, true) => seal(out, key, &LinkedEditAfterOthersRow { edit }),
    }
}

/// Reads the record of an edit.
pub(crate) fn read_edit<'a>(key: &[u8], bytes: &'a [u8]) -> Result<EditRecord<'a>, StoreError> {
    let (row, has_seen, is_linked) = match RecordKind::of(bytes) {
        Some(RecordKind::EditAfterOthers) => {
            (&open::<EditAfterOthersRow>(key, bytes)?.edit, true, false)
        }
        Some(RecordKind::LinkedEdit) => (&open::<LinkedEditRow>(key, bytes)?.edit, false, true),
        Some(RecordKind::LinkedEditAfterOthers) => {
            let row = open::<LinkedEditAfterOthersRow>(key, bytes)?;
            (&row.edit, true, true)
        }
        _ => (open::<EditRow>(key, bytes)?, false, false),
    };
    Ok(EditRecord {
        row,
        has_seen,
        is_linked,
    })
}

/// Writes the record of what an edit had seen.
pub(crate) fn seal_edit_seen(out: &mut Vec<u8>, key: &[u8], seen: &VersionVector) {
    let seen = &seen_rows(seen);
    seal(out, key, &EditSeenRow { seen });
}

/// Reads the record of what an edit had seen.
pub(crate) fn read_edit_seen(key: &[u8], bytes: &[u8]) -> Result<VersionVector, StoreError> {
    let row = open::<EditSeenRow>(key, bytes)?;
    read_seen(RecordKind::EditSeen, key, &row.seen)
}

/// Writes the record of a delta, with what it has replaced if that is kept.
pub(crate) fn seal_log(out: &mut Vec<u8>, key: &[u8], log: LogRow<'_>, befores: Option<&[u8]>) {
    match befores {
        Some(befores) => seal(out, key, &LogWithBeforesRow { log, befores }),
        None => seal(out, key, &log),
    }
}

/// A delta in the log, as stored.
pub(crate) struct Logged<'a> {
    pub(crate) slot: ContextSlot,
    pub(crate) previous: u64,
    pub(crate) canonical: &'a [u8],
    /// What it has replaced, if that is kept.
    pub(crate) befores: Option<&'a [u8]>,
}

impl<'a> Logged<'a> {
    pub(crate) fn read(key: &[u8], bytes: &'a [u8]) -> Result<Logged<'a>, StoreError> {
        check_sum(RecordKind::Log, key, bytes)?;
        Logged::read_summed(key, bytes)
    }

    /// The same of a record whose checksum is looked at elsewhere: until that was done nothing of it is to be believed.
    pub(crate) fn read_summed(key: &[u8], bytes: &'a [u8]) -> Result<Logged<'a>, StoreError> {
        let (row, befores) = match bytes.get(1) {
            Some(&kind) if kind == RecordKind::LogWithBefores as u8 => {
                let row = open_summed::<LogWithBeforesRow>(key, bytes)?;
                (&row.log, Some(row.befores.get()))
            }
            _ => (open_summed::<LogRow>(key, bytes)?, None),
        };
        Ok(Logged {
            slot: ContextSlot::new(row.slot.to_native()),
            previous: row.previous.to_native(),
            canonical: row.canonical.get(),
            befores,
        })
    }

    pub(crate) fn delta(&self, key: &[u8]) -> Result<DeltaView<'a>, StoreError> {
        DeltaView::parse(self.canonical).map_err(|_| self.malformed(key))
    }

    /// What is said of it if its delta is not one.
    pub(crate) fn malformed(&self, key: &[u8]) -> StoreError {
        let why = "its canonical bytes are malformed";
        StoreError::corrupt(RecordKind::Log.what(), key, why)
    }

    /// What it counts for where the log is bounded by bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let befores = self.befores.map_or(0, <[u8]>::len);
        (self.canonical.len() + befores) as u64
    }

    /// Shows what the entry of each write of its `delta` was to `visit`, as far as that is kept.
    pub(crate) fn each_before(
        &self,
        key: &[u8],
        delta: &DeltaView<'a>,
        mut visit: impl FnMut(OpView<'a>, Before<'a>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let Some(befores) = self.befores else {
            return Ok(());
        };
        let mut befores = Reading::new(befores);
        let malformed = || {
            let why = "what it says that the delta has replaced is malformed";
            StoreError::corrupt(RecordKind::Log.what(), key, why)
        };
        for op in delta.ops() {
            visit(op, befores.next().ok_or_else(malformed)?)?;
        }
        befores.end().ok_or_else(malformed)
    }
}

/// A delta that others may name as a parent, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DagNode {
    pub(crate) position: u64,
    pub(crate) dot: Dot,
    /// Without the delta itself.
    pub(crate) seen: VersionVector,
}

impl DagNode {
    pub(crate) fn read(key: &[u8], bytes: &[u8]) -> Result<DagNode, StoreError> {
        let row = open::<DagRow>(key, bytes)?;
        Ok(DagNode {
            position: row.position.to_native(),
            dot: Dot {
                author: row.author.to_native(),
                hlc: Hlc::from_bits(row.hlc.to_native()),
            },
            seen: read_seen(RecordKind::Dag, key, &row.seen)?,
        })
    }

    pub(crate) fn seal(&self, out: &mut Vec<u8>, key: &[u8]) {
        let row = DagRow {
            position: self.position,
            author: self.dot.author,
            hlc: self.dot.hlc.bits(),
            seen: &seen_rows(&self.seen),
        };
        seal(out, key, &row);
    }
}

/// Reads the record of an entry.
pub(crate) fn read_entry<'a>(key: &[u8], bytes: &'a [u8]) -> Result<Stored<'a>, StoreError> {
    let row = open::<EntryRow>(key, bytes)?;
    let corrupt = |why| StoreError::corrupt(RecordKind::Entry.what(), key, why);
    if row.kind == EntryKind::Register.number() {
        let dot = Dot {
            author: row.author.to_native(),
            hlc: Hlc::from_bits(row.hlc.to_native()),
        };
        return Ok(Stored::Value(Value {
            dot,
            bytes: row.value.get(),
        }));
    }
    if row.kind != SECTIONS {
        return Err(corrupt("its kind is unknown to this program"));
    }
    let state = State::read(row.value.get()).map_err(|_| corrupt("its state is malformed"))?;
    match state.kind() {
        Some(_) => Ok(Stored::Sections(state)),
        None => Err(corrupt("its state is empty")),
    }
}

impl KeptAnswer {
    pub(crate) fn read(key: &[u8], bytes: &[u8]) -> Result<KeptAnswer, StoreError> {
        let row = open::<AnswerRow>(key, bytes)?;
        let delta = row.delta.as_ref();
        Ok(KeptAnswer {
            request: RequestDigest::from_bytes(row.request),
            hlc: Hlc::from_bits(row.hlc.to_native()),
            fuel_used: row.fuel_used.to_native(),
            delta_id: delta.map(|delta| DeltaId::from_bytes(*delta)),
            root: Root::from_bytes(row.root),
            said: Said::of(Bytes::copy_from_slice(row.text.get()), row.is_error),
        })
    }

    pub(crate) fn seal(&self, out: &mut Vec<u8>, key: &[u8]) {
        let row = AnswerRow {
            request: *self.request.as_bytes(),
            root: *self.root.as_bytes(),
            delta: self.delta_id.map(|delta| *delta.as_bytes()),
            hlc: self.hlc.bits(),
            fuel_used: self.fuel_used,
            is_error: self.said.is_error(),
            text: self.said.text(),
        };
        seal(out, key, &row);
    }
}

impl AnswerTally {
    pub(crate) fn read(key: &[u8], bytes: &[u8]) -> Result<AnswerTally, StoreError> {
        let row = open::<AnswerTally>(key, bytes)?;
        Ok(AnswerTally {
            count: row.count.to_native(),
            bytes: row.bytes.to_native(),
        })
    }

    /// With one more.
    pub(crate) fn with(self, bytes: u64) -> AnswerTally {
        AnswerTally {
            count: self.count + 1,
            bytes: self.bytes + bytes,
        }
    }

    /// With one fewer; `None` if it does not count that one.
    pub(crate) fn without(self, bytes: u64) -> Option<AnswerTally> {
        Some(AnswerTally {
            count: self.count.checked_sub(1)?,
            bytes: self.bytes.checked_sub(bytes)?,
        })
    }
}

/// Reads what one answer counts for.
pub(crate) fn read_answer_bytes(key: &[u8], bytes: &[u8]) -> Result<u64, StoreError> {
    Ok(open::<AnswerAgeRow>(key, bytes)?.bytes.to_native())
}

/// An event as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventView<'a> {
    /// Counts the context's events without gaps; from where, [`Arrival`](crate::Arrival) says.
    pub sequence: u64,
    /// The delta that it came with.
    pub delta: DeltaId,
    /// When.
    pub hlc: Hlc,
    /// What happened.
    pub kind: &'a str,
    /// The details.
    pub payload: &'a [u8],
}

impl<'a> EventView<'a> {
    pub(crate) fn read(key: &[u8], bytes: &'a [u8]) -> Result<EventView<'a>, StoreError> {
        let row = open::<EventRow>(key, bytes)?;
        let sequence = key.last_chunk::<8>().ok_or_else(|| {
            StoreError::corrupt(RecordKind::Event.what(), key, "its key is too short")
        })?;
        Ok(EventView {
            sequence: u64::from_be_bytes(*sequence),
            delta: DeltaId::from_bytes(row.delta),
            hlc: Hlc::from_bits(row.hlc.to_native()),
            kind: row.kind.get(),
            payload: row.payload.get(),
        })
    }
}

impl ApplicationRecord {
    pub(crate) fn read(key: &[u8], bytes: &[u8]) -> Result<ApplicationRecord, StoreError> {
        let (row, reuse) = match RecordKind::of(bytes) {
            Some(kind @ RecordKind::ApplicationWithSettings) => {
                let row = open::<ApplicationWithSettingsRow>(key, bytes)?;
                let why = "its reuse is unknown to this program";
                let unknown = || StoreError::corrupt(kind.what(), key, why);
                let reuse = Reuse::of(row.reuse).ok_or_else(unknown)?;
                (&row.application, reuse)
            }
            _ => (open::<ApplicationRow>(key, bytes)?, Reuse::default()),
        };
        Ok(ApplicationRecord {
            id: ApplicationId::from_bytes(id_key(key, RecordKind::Application)?),
            name: row.name.get().to_owned(),
            version: row.version.get().to_owned(),
            size_bytes: row.size_bytes.to_native(),
            installed: Hlc::from_bits(row.installed.to_native()),
            description: row.description.get().to_owned(),
            reuse,
        })
    }

    pub(crate) fn seal(&self, out: &mut Vec<u8>) {
        let application = ApplicationRow {
            size_bytes: self.size_bytes,
            installed: self.installed.bits(),
            name: &self.name,
            version: &self.version,
            description: &self.description,
        };
        let key = self.id.as_bytes();
        match self.reuse {
            Reuse::Context => seal(out, key, &application),
            reuse @ Reuse::Never => {
                let reuse = reuse as u8;
                seal(out, key, &ApplicationWithSettingsRow { application, reuse });
            }
        }
    }
}

pub(crate) fn read_name(key: &[u8], bytes: &[u8]) -> Result<ContextId, StoreError> {
    Ok(ContextId::from_bytes(open::<NameRow>(key, bytes)?.context))
}

pub(crate) fn read_author(key: &[u8], bytes: &[u8]) -> Result<NodeId, StoreError> {
    Ok(NodeId::from_bytes(open::<AuthorRow>(key, bytes)?.node))
}
