//! A delta's canonical bytes: what is hashed into its id, later signed, kept in
//! the log and sent to peers, unchanged. Writing is here for the commit;
//! reading checks every length, because a delta may come from a stranger. No
//! storage here. Start at [`DeltaView`].
//!
//! All numbers little-endian: magic "CLD1", context (32), author (32), HLC (8),
//! parent count (2) and parents (32 each), op count (4) and ops (kind (1),
//! 1 for a write or 0 for a removal (1), key length (2), key, and for a write
//! value length (4), value), event count (4) and events (kind length (2), kind,
//! payload length (4), payload), root after the delta (32).

use crate::change::{EntryKind, Event, Op};
use crate::hlc::Hlc;
use crate::ids::{ContextId, DeltaId, NodeId, Root};
use crate::layout::{EVENT_KIND_BYTES_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX};

const MAGIC: &[u8; 4] = b"CLD1";

/// The most parents that a delta can have.
pub const DELTA_PARENTS_MAX: usize = 1024;

/// Writes one delta into a buffer that is reused. The caller has checked every
/// length against its bound.
pub(crate) struct DeltaWriter<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> DeltaWriter<'a> {
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
            "heads are merged long before there are this many"
        );
        out.extend_from_slice(&length::<u16>(parents.len()).to_le_bytes());
        for parent in parents {
            out.extend_from_slice(parent.as_bytes());
        }
        DeltaWriter { out }
    }

    pub(crate) fn ops(&mut self, ops: &[Op]) {
        self.out
            .extend_from_slice(&length::<u32>(ops.len()).to_le_bytes());
        for op in ops {
            self.out
                .extend_from_slice(&[op.kind.number(), u8::from(op.value.is_some())]);
            self.out
                .extend_from_slice(&length::<u16>(op.key.len()).to_le_bytes());
            self.out.extend_from_slice(&op.key);
            if let Some(value) = &op.value {
                self.out
                    .extend_from_slice(&length::<u32>(value.len()).to_le_bytes());
                self.out.extend_from_slice(value);
            }
        }
    }

    pub(crate) fn events(&mut self, events: &[Event]) {
        self.out
            .extend_from_slice(&length::<u32>(events.len()).to_le_bytes());
        for event in events {
            self.out
                .extend_from_slice(&length::<u16>(event.kind.len()).to_le_bytes());
            self.out.extend_from_slice(event.kind.as_bytes());
            self.out
                .extend_from_slice(&length::<u32>(event.payload.len()).to_le_bytes());
            self.out.extend_from_slice(&event.payload);
        }
    }

    pub(crate) fn finish(self, root: Root) -> DeltaId {
        self.out.extend_from_slice(root.as_bytes());
        DeltaId::from_bytes(*blake3::hash(self.out).as_bytes())
    }
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
pub struct MalformedDelta(&'static str);

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
}

/// One write of a delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpView<'a> {
    /// What kind of entry.
    pub kind: EntryKind,
    /// Under which key.
    pub key: &'a [u8],
    /// The value written; `None` if removed.
    pub value: Option<&'a [u8]>,
}

/// One event of a delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeltaEventView<'a> {
    /// What happened.
    pub kind: &'a str,
    /// The details.
    pub payload: &'a [u8],
}

impl<'a> DeltaView<'a> {
    /// Checks that `canonical` is one whole delta within every bound.
    pub fn parse(canonical: &'a [u8]) -> Result<DeltaView<'a>, MalformedDelta> {
        let mut rest = Reader(canonical);
        if rest.array::<4>()? != MAGIC {
            return Err(MalformedDelta("it does not begin with CLD1"));
        }
        let context = ContextId::from_bytes(*rest.array()?);
        let author = NodeId::from_bytes(*rest.array()?);
        let hlc = Hlc::from_bits(u64::from_le_bytes(*rest.array()?));
        let parent_count = usize::from(rest.u16()?);
        if parent_count > DELTA_PARENTS_MAX {
            return Err(MalformedDelta("it has too many parents"));
        }
        let (parents, _) = rest.bytes(32 * parent_count)?.as_chunks::<32>();
        let op_count = rest.u32()?;
        let ops = rest.0;
        let mut last_key = None;
        for _ in 0..op_count {
            let key = Some(rest.op()?.key);
            // One state has one form: each key once, in order.
            if key <= last_key {
                return Err(MalformedDelta(
                    "its writes are not in ascending order of their keys",
                ));
            }
            last_key = key;
        }
        let ops = &ops[..ops.len() - rest.0.len()];
        let event_count = rest.u32()?;
        let events = rest.0;
        for _ in 0..event_count {
            rest.event()?;
        }
        let events = &events[..events.len() - rest.0.len()];
        let root = Root::from_bytes(*rest.array()?);
        if !rest.0.is_empty() {
            return Err(MalformedDelta("bytes follow its end"));
        }
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

    /// The deltas that it follows.
    pub fn parents(&self) -> impl ExactSizeIterator<Item = DeltaId> + 'a {
        self.parents.iter().map(|id| DeltaId::from_bytes(*id))
    }

    /// How many writes it has.
    pub fn op_count(&self) -> u32 {
        self.op_count
    }

    /// Its writes, in order.
    pub fn ops(&self) -> impl Iterator<Item = OpView<'a>> {
        let mut rest = Reader(self.ops);
        (0..self.op_count).map(move |_| rest.op().expect("parse read the same ops"))
    }

    /// Its events, in order.
    pub fn events(&self) -> impl Iterator<Item = DeltaEventView<'a>> {
        let mut rest = Reader(self.events);
        (0..self.event_count).map(move |_| rest.event().expect("parse read the same events"))
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], MalformedDelta> {
        let (bytes, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(MalformedDelta("it ends too early"))?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], MalformedDelta> {
        let (bytes, rest) = self
            .0
            .split_first_chunk()
            .ok_or(MalformedDelta("it ends too early"))?;
        self.0 = rest;
        Ok(bytes)
    }

    fn u16(&mut self) -> Result<u16, MalformedDelta> {
        Ok(u16::from_le_bytes(*self.array()?))
    }

    fn u32(&mut self) -> Result<u32, MalformedDelta> {
        Ok(u32::from_le_bytes(*self.array()?))
    }

    fn bounded(&mut self, count: usize, max: usize) -> Result<&'a [u8], MalformedDelta> {
        if count > max {
            Err(MalformedDelta("a field is longer than its bound"))
        } else {
            self.bytes(count)
        }
    }

    fn op(&mut self) -> Result<OpView<'a>, MalformedDelta> {
        let &[kind, present] = self.array()?;
        let kind =
            EntryKind::from_number(kind).ok_or(MalformedDelta("an op has an unknown kind"))?;
        let key_bytes = usize::from(self.u16()?);
        let key = self.bounded(key_bytes, KEY_BYTES_MAX)?;
        let value = match present {
            0 => None,
            1 => {
                let value_bytes = self.u32()? as usize;
                Some(self.bounded(value_bytes, VALUE_BYTES_MAX)?)
            }
            _ => return Err(MalformedDelta("an op neither writes nor removes")),
        };
        Ok(OpView { kind, key, value })
    }

    fn event(&mut self) -> Result<DeltaEventView<'a>, MalformedDelta> {
        let kind_bytes = usize::from(self.u16()?);
        let kind = std::str::from_utf8(self.bounded(kind_bytes, EVENT_KIND_BYTES_MAX)?)
            .map_err(|_| MalformedDelta("an event's kind is not UTF-8"))?;
        let payload_bytes = self.u32()? as usize;
        let payload = self.bounded(payload_bytes, VALUE_BYTES_MAX)?;
        Ok(DeltaEventView { kind, payload })
    }
}
