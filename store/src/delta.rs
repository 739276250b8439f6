//! A delta's canonical bytes: what is hashed into its id, sealed, kept in the log
//! and sent to peers, unchanged. Writing is here for the commit; reading checks
//! every length, because a delta may come from a stranger. No storage here. Start
//! at [`DeltaView`].
//!
//! All numbers little-endian: magic "CLD2", context (32), author (32), HLC (8),
//! parent count (2) and parents (32 each, ascending), op count (4) and ops, event count (4)
//! and events (kind length (2), kind, payload length (4), payload), root after the
//! delta (32).
//!
//! Ops are in ascending order of space and key. Each is: what it does (1), space (1),
//! key length (2), key, and then by what it does: 1 sets a register and 5 a write-once
//! entry, to value length (4), value; 2 adds to a counter and 3 does so in a new
//! cell, amount (8, signed); 4 inserts a set element; 6 edits a list and 7 a text, birth
//! count (2), births (author (32), HLC (8), ascending), update length (4), update; 8
//! removes; 9 and 10 are edits of a list and a text that are [linked](BirthsView) to what they build on,
//! and have behind the births a count (2) and stamps (8): up to which one each author whom the update names
//! had been seen; 6 and 7 are those of before. With 128 added, each but 8 removes first what is there.

use crate::attachment::Attachment;
use crate::change::{Birth, Event};
use crate::entry::{EntryKind, Space};
use crate::hlc::Hlc;
use crate::ids::{ContextId, DeltaId, ID_BYTES, NodeId, Root};
use crate::layout::{EVENT_KIND_BYTES_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::sequence::{UPDATE_EDITS_MAX, named_in};
use crate::stable;

const MAGIC: &[u8; 4] = b"CLD2";

/// The most bytes of a delta: what other nodes take at once, so that one which no node could be
/// given is never made.
pub const DELTA_BYTES_MAX: u64 = 16 << 20;

/// Bytes of a delta without its parents, ops and events.
const AROUND_BYTES: u64 = 4 + 32 + 32 + 8 + 2 + 4 + 4 + 32;

/// The most parents that a delta can have.
pub const DELTA_PARENTS_MAX: usize = 1024;

/// The most writes, and the most events, that a delta can have: about as many as the
/// calls of a batch.
pub const DELTA_PARTS_MAX: u32 = 1 << 19;

/// The most births that an edit can build on.
pub const BIRTHS_MAX: usize = 1024;

/// Bytes of a birth.
pub(crate) const BIRTH_BYTES: usize = 40;

/// Bytes of a stamp.
pub(crate) const STAMP_BYTES: usize = 8;

/// What an op does.
mod deed {
    pub(super) const SET: u8 = 1;
    pub(super) const ADD: u8 = 2;
    pub(super) const ADD_IN_NEW_CELL: u8 = 3;
    pub(super) const INSERT: u8 = 4;
    pub(super) const WRITE_ONCE: u8 = 5;
    pub(super) const EDIT_LIST: u8 = 6;
    pub(super) const EDIT_TEXT: u8 = 7;
    pub(super) const REMOVE: u8 = 8;
    pub(super) const EDIT_LIST_LINKED: u8 = 9;
    pub(super) const EDIT_TEXT_LINKED: u8 = 10;
    /// Added to any other.
    pub(super) const REMOVES_FIRST: u8 = 128;
}

/// Bytes of a delta with these ops and events, whatever its parents are: at least as many as it
/// will have.
pub(crate) fn size_at_most<'a>(ops: impl Iterator<Item = OpView<'a>>, events: &[Event]) -> u64 {
    let op = |op: OpView<'_>| {
        let more = match op.write {
            WriteView::Set(_) | WriteView::WriteOnce(_) => 4,
            WriteView::Add { .. } => 8,
            WriteView::Edit { births, update, .. } => {
                8 + births.rows.len() * BIRTH_BYTES + named_in(update).len() * STAMP_BYTES
            }
            WriteView::Insert | WriteView::Remove => 0,
        };
        (4 + op.key.len() + more + op.write.payload().len()) as u64
    };
    let event = |event: &Event| (6 + event.kind.len() + event.payload.len()) as u64;
    let parents = (DELTA_PARENTS_MAX * ID_BYTES) as u64;
    AROUND_BYTES + parents + ops.map(op).sum::<u64>() + events.iter().map(event).sum::<u64>()
}

/// Writes one delta into a buffer that is reused. The caller has checked every
/// length against its bound.
pub(crate) struct DeltaWriter<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> DeltaWriter<'a> {
    /// `parents` are in ascending order.
    pub(crate) fn begin(
        out: &'a mut Vec<u8>,
        context: ContextId,
        author: NodeId,
        hlc: Hlc,
        parents: &[DeltaId],
    ) -> Self {
        out.clear();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(context.as_bytes());
        out.extend_from_slice(author.as_bytes());
        out.extend_from_slice(&hlc.bits().to_le_bytes());
        assert!(
            parents.len() <= DELTA_PARENTS_MAX,
            "a context never has more heads"
        );
        out.extend_from_slice(&length::<u16>(parents.len()).to_le_bytes());
        for parent in parents {
            out.extend_from_slice(parent.as_bytes());
        }
        DeltaWriter { out }
    }

    /// Where ops and then events go. How many ops there are comes first.
    pub(crate) fn out(&mut self) -> &mut Vec<u8> {
        self.out
    }

    pub(crate) fn events(&mut self, events: &[Event]) {
        self.out
            .extend_from_slice(&length::<u32>(events.len()).to_le_bytes());
        for event in events {
            self.out
                .extend_from_slice(&length::<u16>(event.kind.len()).to_le_bytes());
            self.out.extend_from_slice(event.kind.as_bytes());
            write_long(self.out, &event.payload);
        }
    }

    pub(crate) fn finish(self, root: Root) -> DeltaId {
        self.out.extend_from_slice(root.as_bytes());
        DeltaId::from_bytes(*blake3::hash(self.out).as_bytes())
    }
}

/// How many ops follow.
pub(crate) fn write_op_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&length::<u32>(count).to_le_bytes());
}

/// Writes one op.
pub(crate) fn write_op(out: &mut Vec<u8>, op: &OpView<'_>) {
    let deed = match op.write {
        WriteView::Set(_) => deed::SET,
        WriteView::Add {
            is_new_cell: false, ..
        } => deed::ADD,
        WriteView::Add {
            is_new_cell: true, ..
        } => deed::ADD_IN_NEW_CELL,
        WriteView::Insert => deed::INSERT,
        WriteView::WriteOnce(_) => deed::WRITE_ONCE,
        WriteView::Edit { kind, births, .. } => match (kind, births.are_linked) {
            (EntryKind::List, false) => deed::EDIT_LIST,
            (EntryKind::List, true) => deed::EDIT_LIST_LINKED,
            (_, false) => deed::EDIT_TEXT,
            (_, true) => deed::EDIT_TEXT_LINKED,
        },
        WriteView::Remove => deed::REMOVE,
    };
    let removes_first = match op.removes_first {
        true => deed::REMOVES_FIRST,
        false => 0,
    };
    out.extend_from_slice(&[deed | removes_first, op.space.number()]);
    out.extend_from_slice(&length::<u16>(op.key.len()).to_le_bytes());
    out.extend_from_slice(op.key);
    match op.write {
        WriteView::Set(bytes) | WriteView::WriteOnce(bytes) => write_long(out, bytes),
        WriteView::Add { amount, .. } => out.extend_from_slice(&amount.to_le_bytes()),
        WriteView::Edit {
            births,
            seen,
            update,
            ..
        } => {
            out.extend_from_slice(&length::<u16>(births.rows.len()).to_le_bytes());
            out.extend_from_slice(births.rows.as_flattened());
            if births.are_linked {
                out.extend_from_slice(&length::<u16>(seen.len()).to_le_bytes());
                out.extend_from_slice(seen.as_flattened());
            }
            write_long(out, update);
        }
        WriteView::Insert | WriteView::Remove => {}
    }
}

fn write_long(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&length::<u32>(bytes.len()).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn length<N: TryFrom<usize>>(length: usize) -> N {
    match N::try_from(length) {
        Ok(length) => length,
        Err(_) => unreachable!("lengths were checked against their bounds before"),
    }
}

/// Bytes that are no delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a delta: {0}")]
pub struct MalformedDelta(pub(crate) &'static str);

/// A delta, checked, borrowed from its canonical bytes.
#[derive(Clone, Copy, Debug)]
pub struct DeltaView<'a> {
    canonical: &'a [u8],
    context: ContextId,
    author: NodeId,
    hlc: Hlc,
    root: Root,
    parents: &'a [[u8; 32]],
    op_count: u32,
    ops: &'a [u8],
    event_count: u32,
    events: &'a [u8],
    has_unlinked: bool,
}

/// One write of a delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpView<'a> {
    /// In which space.
    pub space: Space,
    /// Under which key.
    pub key: &'a [u8],
    /// Whether it removes first what is there.
    pub removes_first: bool,
    /// What it does.
    pub write: WriteView<'a>,
}

/// What a write of a delta does to its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteView<'a> {
    /// Gives a register a value.
    Set(&'a [u8]),
    /// Adds to a counter.
    Add {
        /// How much.
        amount: i64,
        /// Whether it begins the author's cell anew.
        is_new_cell: bool,
    },
    /// Puts an element into a set.
    Insert,
    /// Gives a write-once entry its value.
    WriteOnce(&'a [u8]),
    /// Edits a list or text.
    Edit {
        /// Which of both.
        kind: EntryKind,
        /// What it builds on; none if it begins the sequence.
        births: BirthsView<'a>,
        /// Up to which stamp its author had seen each author whom the update names, in the order in
        /// which it names them: that of an edit of the sequence, or 0. If it is not linked, or its
        /// delta is still to be made, there is nothing.
        seen: &'a [[u8; STAMP_BYTES]],
        /// The edit.
        update: &'a [u8],
    },
    /// Removes what is there.
    Remove,
}

impl OpView<'_> {
    /// Whether it is an edit and no digest tells on what it builds.
    fn is_unlinked(&self) -> bool {
        matches!(self.write, WriteView::Edit { births, .. } if !births.are_linked)
    }
}

impl<'a> WriteView<'a> {
    /// The kind that it wants the entry to be; none if any will do.
    pub(crate) fn kind(&self) -> Option<EntryKind> {
        match self {
            WriteView::Set(_) => Some(EntryKind::Register),
            WriteView::Add { .. } => Some(EntryKind::Counter),
            WriteView::Insert => Some(EntryKind::SetElement),
            WriteView::WriteOnce(_) => Some(EntryKind::WriteOnce),
            WriteView::Edit { kind, .. } => Some(*kind),
            WriteView::Remove => None,
        }
    }

    /// The bytes that its entry, or a record of its own, may come to hold.
    pub(crate) fn payload(&self) -> &'a [u8] {
        match self {
            WriteView::Set(bytes) | WriteView::WriteOnce(bytes) => bytes,
            WriteView::Edit { update, .. } => update,
            WriteView::Add { .. } | WriteView::Insert | WriteView::Remove => &[],
        }
    }
}

/// The births that an edit builds on; none if it is itself one. They are linked if the digest of
/// its author's chain of edits tells of them, and of what the edit says that it had seen: only then do equal roots say that both are the same. Those of the first edits were not,
/// which are kept as they are, and come from other nodes in copies alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BirthsView<'a> {
    rows: &'a [[u8; BIRTH_BYTES]],
    are_linked: bool,
}

impl<'a> BirthsView<'a> {
    /// As written in a delta or a record. `None` unless in ascending order.
    pub(crate) fn of(rows: &'a [[u8; BIRTH_BYTES]], are_linked: bool) -> Option<BirthsView<'a>> {
        let births = BirthsView { rows, are_linked };
        births.iter().is_sorted_by(|a, b| a < b).then_some(births)
    }

    pub(crate) fn as_slice(&self) -> &'a [[u8; BIRTH_BYTES]] {
        self.rows
    }

    pub(crate) fn are_linked(&self) -> bool {
        self.are_linked
    }

    /// They, if they are linked.
    pub(crate) fn linked(&self) -> Option<&'a [[u8; BIRTH_BYTES]]> {
        self.are_linked.then_some(self.rows)
    }

    /// Each of them, in ascending order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Birth> + use<'a> {
        self.rows.iter().map(Birth::of)
    }
}

/// The author and the stamp of a delta, of canonical bytes that are known to be one.
pub(crate) fn stamp_of(canonical: &[u8]) -> Result<(NodeId, Hlc), MalformedDelta> {
    let (_, author, hlc) = Reader(canonical).origin()?;
    Ok((author, hlc))
}

impl<'a> DeltaView<'a> {
    /// Checks that `canonical` is one whole delta within every bound, and that it
    /// writes nothing that its author may not write.
    pub fn parse(canonical: &'a [u8]) -> Result<DeltaView<'a>, MalformedDelta> {
        let mut rest = Reader(canonical);
        let (context, author, hlc) = rest.origin()?;
        let parent_count = usize::from(rest.u16()?);
        if parent_count > DELTA_PARENTS_MAX {
            return Err(MalformedDelta("it has too many parents"));
        }
        let (parents, _) = rest.bytes(32 * parent_count)?.as_chunks::<32>();
        if !parents.is_sorted_by(|a, b| a < b) {
            return Err(MalformedDelta("its parents are not in ascending order"));
        }
        let op_count = rest.u32()?;
        if op_count > DELTA_PARTS_MAX {
            return Err(MalformedDelta("it has too many writes"));
        }
        let ops = rest.0;
        let mut last = None;
        let mut has_unlinked = false;
        for _ in 0..op_count {
            let op = rest.op()?;
            has_unlinked |= op.is_unlinked();
            let place = Some((op.space, op.key));
            // One state has one form: each key once, in order.
            if place <= last {
                return Err(MalformedDelta(
                    "its writes are not in ascending order of their keys",
                ));
            }
            last = place;
            match op.space {
                Space::Shared => {}
                Space::Owned if op.key.starts_with(author.as_bytes()) => {}
                Space::Owned => {
                    return Err(MalformedDelta("it writes what another author owns"));
                }
                Space::Private | Space::Agenda => {
                    return Err(MalformedDelta("it writes what is private to its node"));
                }
                Space::Attached => {
                    let is_kind = matches!(op.write, WriteView::Insert | WriteView::Remove);
                    if !is_kind || Attachment::from_key(op.key).is_none() {
                        return Err(MalformedDelta("it attaches what is no blob"));
                    }
                }
                Space::Stable if stable::is_write(&op) => {}
                Space::Stable => {
                    return Err(MalformedDelta(
                        "it writes what is no part of a stable memory",
                    ));
                }
            }
        }
        let ops = &ops[..ops.len() - rest.0.len()];
        let event_count = rest.u32()?;
        if event_count > DELTA_PARTS_MAX {
            return Err(MalformedDelta("it has too many events"));
        }
        let events = rest.0;
        for _ in 0..event_count {
            rest.event()?;
        }
        let events = &events[..events.len() - rest.0.len()];
        let root = Root::from_bytes(*rest.array()?);
        rest.end()?;
        Ok(DeltaView {
            canonical,
            context,
            author,
            hlc,
            root,
            parents,
            op_count,
            ops,
            event_count,
            events,
            has_unlinked,
        })
    }

    /// The id: blake3 of the canonical bytes, computed now.
    pub fn id(&self) -> DeltaId {
        DeltaId::from_bytes(*blake3::hash(self.canonical).as_bytes())
    }

    /// The bytes as hashed.
    pub fn canonical(&self) -> &'a [u8] {
        self.canonical
    }

    /// The context that it changes.
    pub fn context(&self) -> ContextId {
        self.context
    }

    /// The node that made it.
    pub fn author(&self) -> NodeId {
        self.author
    }

    /// Its stamp.
    pub fn hlc(&self) -> Hlc {
        self.hlc
    }

    /// The author's root after it.
    pub fn root(&self) -> Root {
        self.root
    }

    /// The deltas that it follows, in ascending order.
    pub fn parents(&self) -> impl ExactSizeIterator<Item = DeltaId> + 'a {
        self.parents.iter().map(|id| DeltaId::from_bytes(*id))
    }

    /// Refuses one of the first form, which no node has given to another: whoever does now could have
    /// two of them that build on something else, of which no digest tells.
    pub(crate) fn check_linked(&self) -> Result<(), MalformedDelta> {
        match self.has_unlinked {
            true => Err(MalformedDelta("an edit is not linked to what it builds on")),
            false => Ok(()),
        }
    }

    /// How many writes it has.
    pub fn op_count(&self) -> u32 {
        self.op_count
    }

    /// Its writes, in order.
    pub fn ops(&self) -> impl Iterator<Item = OpView<'a>> + use<'a> {
        let mut rest = Reader(self.ops);
        (0..self.op_count).map(move |_| rest.op().expect("parse read the same ops"))
    }

    /// How many events it has.
    pub fn event_count(&self) -> u32 {
        self.event_count
    }

    /// Its events, in order.
    pub fn events(&self) -> impl Iterator<Item = DeltaEventView<'a>> + use<'a> {
        let mut rest = Reader(self.events);
        (0..self.event_count).map(move |_| rest.event().expect("parse read the same events"))
    }
}

/// One event of a delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeltaEventView<'a> {
    /// What happened.
    pub kind: &'a str,
    /// The details.
    pub payload: &'a [u8],
}

pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    /// What a delta begins with: its context, its author and its stamp.
    fn origin(&mut self) -> Result<(ContextId, NodeId, Hlc), MalformedDelta> {
        if self.array::<4>()? != MAGIC {
            return Err(MalformedDelta("it does not begin with CLD2"));
        }
        let context = ContextId::from_bytes(*self.array()?);
        let author = NodeId::from_bytes(*self.array()?);
        let hlc = Hlc::from_bits(u64::from_le_bytes(*self.array()?));
        match hlc {
            Hlc::ZERO => Err(MalformedDelta("it has no stamp")),
            _ => Ok((context, author, hlc)),
        }
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], MalformedDelta> {
        let (bytes, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(MalformedDelta("it ends too early"))?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], MalformedDelta> {
        let (bytes, rest) = self
            .0
            .split_first_chunk()
            .ok_or(MalformedDelta("it ends too early"))?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, MalformedDelta> {
        Ok(u16::from_le_bytes(*self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, MalformedDelta> {
        Ok(u32::from_le_bytes(*self.array()?))
    }

    pub(crate) fn bounded(&mut self, count: usize, max: usize) -> Result<&'a [u8], MalformedDelta> {
        if count > max {
            Err(MalformedDelta("a field is longer than its bound"))
        } else {
            self.bytes(count)
        }
    }

    pub(crate) fn end(&self) -> Result<(), MalformedDelta> {
        match self.0 {
            [] => Ok(()),
            _ => Err(MalformedDelta("bytes follow its end")),
        }
    }

    fn long(&mut self) -> Result<&'a [u8], MalformedDelta> {
        let count = self.u32()? as usize;
        self.bounded(count, VALUE_BYTES_MAX)
    }

    pub(crate) fn op(&mut self) -> Result<OpView<'a>, MalformedDelta> {
        let &[deed, space] = self.array()?;
        let space =
            Space::from_number(space).ok_or(MalformedDelta("an op is in an unknown space"))?;
        let key_bytes = usize::from(self.u16()?);
        let key = self.bounded(key_bytes, KEY_BYTES_MAX)?;
        let removes_first = deed & deed::REMOVES_FIRST != 0;
        let deed = deed & !deed::REMOVES_FIRST;
        let write = match deed {
            deed::SET => WriteView::Set(self.long()?),
            deed::ADD | deed::ADD_IN_NEW_CELL => WriteView::Add {
                amount: i64::from_le_bytes(*self.array()?),
                is_new_cell: deed == deed::ADD_IN_NEW_CELL,
            },
            deed::INSERT => WriteView::Insert,
            deed::WRITE_ONCE => WriteView::WriteOnce(self.long()?),
            deed::EDIT_LIST | deed::EDIT_TEXT | deed::EDIT_LIST_LINKED | deed::EDIT_TEXT_LINKED => {
                let count = usize::from(self.u16()?);
                if count > BIRTHS_MAX {
                    return Err(MalformedDelta("an edit builds on too many births"));
                }
                let (births, _) = self.bytes(BIRTH_BYTES * count)?.as_chunks::<BIRTH_BYTES>();
                let are_linked = matches!(deed, deed::EDIT_LIST_LINKED | deed::EDIT_TEXT_LINKED);
                let mut seen: &[[u8; STAMP_BYTES]] = &[];
                if are_linked {
                    let count = usize::from(self.u16()?);
                    if count > UPDATE_EDITS_MAX {
                        return Err(MalformedDelta("an edit names too many authors"));
                    }
                    (seen, _) = self.bytes(STAMP_BYTES * count)?.as_chunks::<STAMP_BYTES>();
                }
                WriteView::Edit {
                    kind: match deed {
                        deed::EDIT_LIST | deed::EDIT_LIST_LINKED => EntryKind::List,
                        _ => EntryKind::Text,
                    },
                    births: BirthsView::of(births, are_linked)
                        .ok_or(MalformedDelta("births are not in ascending order"))?,
                    seen,
                    update: self.long()?,
                }
            }
            deed::REMOVE if !removes_first => WriteView::Remove,
            _ => return Err(MalformedDelta("an op does something unknown")),
        };
        Ok(OpView {
            space,
            key,
            removes_first,
            write,
        })
    }

    fn event(&mut self) -> Result<DeltaEventView<'a>, MalformedDelta> {
        let kind_bytes = usize::from(self.u16()?);
        let kind = std::str::from_utf8(self.bounded(kind_bytes, EVENT_KIND_BYTES_MAX)?)
            .map_err(|_| MalformedDelta("an event's kind is not UTF-8"))?;
        Ok(DeltaEventView {
            kind,
            payload: self.long()?,
        })
    }
}
