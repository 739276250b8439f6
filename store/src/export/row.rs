//! The rows of an export, and their bytes. A row is a number (1) that says what it is,
//! and fields. An author is named by a number, which a row of its own has given before;
//! slots and positions are the ledger's own and never written. Reading checks every
//! length against its bound, as a file may come from anybody.
//!
//! All numbers little-endian; `bytes` is a length (4) and bytes, `text` a length (2) and
//! UTF-8, a dot is author (4) and stamp (8), `seen` a count (4) and dots.
//!
//! | number | row | fields |
//! |---|---|---|
//! | 1 | author | number (4), node (32) |
//! | 2 | context | id (32), application (32), created (8), whether it has a name (1), name (text) |
//! | 3 | head | root (32), version, entries, replicated, bytes, stamp, deltas that follow, first event, last event (8 each), flags (1), count (2) and ids of newest deltas (32 each), `seen` |
//! | 4 | value | space (1), key (text without UTF-8), dot, bytes |
//! | 5 | sections | space (1), key, bytes as in `entry/state.rs` |
//! | 6 | edit | space (1), hash of the key (16), kind (1), dot, count (2) and births (40 each), `seen`, bytes |
//! | 7 | removed edits | space (1), hash of the key (16), kind (1), key |
//! | 8 | node of the trie | nibbles (text without UTF-8), bytes |
//! | 9 | past of a delta that is not in the log | id (32), dot, `seen` |
//! | 10 | delta | bytes, whether its past follows (1), dot, `seen` |
//! | 11 | event | sequence (8), delta (32), stamp (8), kind (text), bytes |
//! | 12 | end of a context | how many of 4 and 5, 6, 8, 9, 10 and 11 (8 each), root (32) |
//! | 20 | node | id (32), shards (2) |
//! | 21 | application | id (32), bytes (8), installed (8), name, version, description (bytes each) |
//! | 22 | part of a file | what it is (1): 1 a component, 2 a blob; its id (32), bytes |
//! | 23 | name | name (text), context (32) |
//! | 24 | key file | name (text), bytes |
//! | 25 | end of a backup | how many contexts, applications, files and names (8 each) |

use crate::change::ApplicationRecord;
use crate::delta::{BIRTH_BYTES, BIRTHS_MAX, DELTA_PARENTS_MAX, MalformedDelta, Reader};
use crate::entry::Space;
use crate::hlc::Hlc;
use crate::ids::{ApplicationId, ContextId, DeltaId, NodeId, Root};
use crate::layout::{
    APPLICATION_BYTES_MAX, EVENT_KIND_BYTES_MAX, KEY_BYTES_MAX, NAME_BYTES_MAX, VALUE_BYTES_MAX,
};
use crate::version::Dot;

use super::frame::CHUNK_BYTES_MAX;

/// The most authors that one context can have in an export.
pub(super) const AUTHORS_MAX: usize = 1 << 20;

/// The most nibbles of a node's place.
const NIBBLES_MAX: usize = 64;

/// Authors and stamps.
pub(super) type Seen = Vec<Dot>;

/// What is said of a context beside its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeadFields {
    pub(super) root: Root,
    pub(super) version: u64,
    pub(super) entries: u64,
    pub(super) replicated: u64,
    pub(super) bytes: u64,
    pub(super) hlc: Hlc,
    pub(super) log_follows: u64,
    pub(super) events_first: u64,
    pub(super) events_last: u64,
    pub(super) is_shared: bool,
    pub(super) is_pruned: bool,
    pub(super) deltas: Vec<DeltaId>,
    pub(super) seen: Seen,
}

/// How many rows of each kind a context has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) entries: u64,
    pub(super) edits: u64,
    pub(super) trie_nodes: u64,
    pub(super) pasts: u64,
    pub(super) deltas: u64,
    pub(super) events: u64,
}

/// What a backup holds, and what was restored of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupCounts {
    /// Contexts.
    pub contexts: u64,
    /// Applications.
    pub applications: u64,
    /// Components and blobs.
    pub files: u64,
    /// Names.
    pub names: u64,
}

/// A file beside the ledgers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FileKind {
    /// An application's component.
    Component = 1,
    /// A blob.
    Blob = 2,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Row<'a> {
    Author {
        number: u32,
        node: NodeId,
    },
    Context {
        id: ContextId,
        application: ApplicationId,
        created: Hlc,
        name: Option<&'a str>,
    },
    Head(HeadFields),
    Value {
        space: Space,
        key: &'a [u8],
        dot: Dot,
        bytes: &'a [u8],
    },
    Sections {
        space: Space,
        key: &'a [u8],
        state: &'a [u8],
    },
    Edit {
        space: Space,
        /// Of its sequence: hash of the key, and kind.
        sequence: &'a [u8; 17],
        dot: Dot,
        births: &'a [[u8; BIRTH_BYTES]],
        /// What its delta had seen of the other authors of the sequence.
        seen: Seen,
        update: &'a [u8],
    },
    Litter {
        space: Space,
        sequence: &'a [u8; 17],
        key: &'a [u8],
    },
    TrieNode {
        nibbles: &'a [u8],
        node: &'a [u8],
    },
    Past {
        id: DeltaId,
        dot: Dot,
        seen: Seen,
    },
    Delta {
        canonical: &'a [u8],
        past: Option<(Dot, Seen)>,
    },
    Event {
        sequence: u64,
        delta: DeltaId,
        hlc: Hlc,
        kind: &'a str,
        payload: &'a [u8],
    },
    ContextEnd(Counts, Root),
    Node {
        id: NodeId,
        shards: u16,
    },
    Application(ApplicationRecord),
    FilePart {
        kind: FileKind,
        id: [u8; 32],
        bytes: &'a [u8],
    },
    Name {
        name: &'a str,
        context: ContextId,
    },
    Key {
        name: &'a str,
        bytes: &'a [u8],
    },
    BackupEnd(BackupCounts),
}

const SHARED: u8 = 1;
const PRUNED: u8 = 2;

impl Row<'_> {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Row::Author { number, node } => {
                out.push(1);
                out.extend_from_slice(&number.to_le_bytes());
                out.extend_from_slice(node.as_bytes());
            }
            Row::Context {
                id,
                application,
                created,
                name,
            } => {
                out.push(2);
                out.extend_from_slice(id.as_bytes());
                out.extend_from_slice(application.as_bytes());
                out.extend_from_slice(&created.bits().to_le_bytes());
                out.push(u8::from(name.is_some()));
                short(out, name.unwrap_or("").as_bytes());
            }
            Row::Head(head) => head.write(out),
            Row::Value {
                space,
                key,
                dot,
                bytes,
            } => {
                out.extend_from_slice(&[4, space.number()]);
                short(out, key);
                write_dot(out, *dot);
                long(out, bytes);
            }
            Row::Sections { space, key, state } => {
                out.extend_from_slice(&[5, space.number()]);
                short(out, key);
                long(out, state);
            }
            Row::Edit {
                space,
                sequence,
                dot,
                births,
                seen,
                update,
            } => {
                out.extend_from_slice(&[6, space.number()]);
                out.extend_from_slice(*sequence);
                write_dot(out, *dot);
                out.extend_from_slice(&count16(births.len()));
                out.extend_from_slice(births.as_flattened());
                write_seen(out, seen);
                long(out, update);
            }
            Row::Litter {
                space,
                sequence,
                key,
            } => {
                out.extend_from_slice(&[7, space.number()]);
                out.extend_from_slice(*sequence);
                short(out, key);
            }
            Row::TrieNode { nibbles, node } => {
                out.push(8);
                short(out, nibbles);
                long(out, node);
            }
            Row::Past { id, dot, seen } => {
                out.push(9);
                out.extend_from_slice(id.as_bytes());
                write_dot(out, *dot);
                write_seen(out, seen);
            }
            Row::Delta { canonical, past } => {
                out.push(10);
                long(out, canonical);
                out.push(u8::from(past.is_some()));
                if let Some((dot, seen)) = past {
                    write_dot(out, *dot);
                    write_seen(out, seen);
                }
            }
            Row::Event {
                sequence,
                delta,
                hlc,
                kind,
                payload,
            } => {
                out.push(11);
                out.extend_from_slice(&sequence.to_le_bytes());
                out.extend_from_slice(delta.as_bytes());
                out.extend_from_slice(&hlc.bits().to_le_bytes());
                short(out, kind.as_bytes());
                long(out, payload);
            }
            Row::ContextEnd(counts, root) => {
                out.push(12);
                for count in counts.as_array() {
                    out.extend_from_slice(&count.to_le_bytes());
                }
                out.extend_from_slice(root.as_bytes());
            }
            Row::Node { id, shards } => {
                out.push(20);
                out.extend_from_slice(id.as_bytes());
                out.extend_from_slice(&shards.to_le_bytes());
            }
            Row::Application(record) => {
                out.push(21);
                out.extend_from_slice(record.id.as_bytes());
                out.extend_from_slice(&record.size_bytes.to_le_bytes());
                out.extend_from_slice(&record.installed.bits().to_le_bytes());
                for text in [&record.name, &record.version, &record.description] {
                    long(out, text.as_bytes());
                }
            }
            Row::FilePart { kind, id, bytes } => {
                out.extend_from_slice(&[22, *kind as u8]);
                out.extend_from_slice(id);
                long(out, bytes);
            }
            Row::Name { name, context } => {
                out.push(23);
                short(out, name.as_bytes());
                out.extend_from_slice(context.as_bytes());
            }
            Row::Key { name, bytes } => {
                out.push(24);
                short(out, name.as_bytes());
                long(out, bytes);
            }
            Row::BackupEnd(counts) => {
                out.push(25);
                for count in [
                    counts.contexts,
                    counts.applications,
                    counts.files,
                    counts.names,
                ] {
                    out.extend_from_slice(&count.to_le_bytes());
                }
            }
        }
    }
}

impl HeadFields {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(3);
        out.extend_from_slice(self.root.as_bytes());
        for number in [
            self.version,
            self.entries,
            self.replicated,
            self.bytes,
            self.hlc.bits(),
            self.log_follows,
            self.events_first,
            self.events_last,
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        out.push(flag(self.is_shared, SHARED) | flag(self.is_pruned, PRUNED));
        out.extend_from_slice(&count16(self.deltas.len()));
        for id in &self.deltas {
            out.extend_from_slice(id.as_bytes());
        }
        write_seen(out, &self.seen);
    }

    fn read(rest: &mut Reader<'_>) -> Result<HeadFields, MalformedDelta> {
        let root = Root::from_bytes(*rest.array()?);
        let mut numbers = [0; 8];
        for number in &mut numbers {
            *number = u64::from_le_bytes(*rest.array()?);
        }
        let [
            version,
            entries,
            replicated,
            bytes,
            hlc,
            log_follows,
            events_first,
            events_last,
        ] = numbers;
        let [flags] = *rest.array()?;
        if flags > SHARED | PRUNED {
            return Err(MalformedDelta("a head has unknown flags"));
        }
        let count = usize::from(rest.u16()?);
        let (deltas, _) = rest
            .bounded(32 * count, 32 * DELTA_PARENTS_MAX)?
            .as_chunks::<32>();
        Ok(HeadFields {
            root,
            version,
            entries,
            replicated,
            bytes,
            hlc: Hlc::from_bits(hlc),
            log_follows,
            events_first,
            events_last,
            is_shared: flags & SHARED != 0,
            is_pruned: flags & PRUNED != 0,
            deltas: deltas.iter().map(|id| DeltaId::from_bytes(*id)).collect(),
            seen: read_seen(rest)?,
        })
    }
}

impl Counts {
    fn as_array(&self) -> [u64; 6] {
        [
            self.entries,
            self.edits,
            self.trie_nodes,
            self.pasts,
            self.deltas,
            self.events,
        ]
    }
}

/// Reads the row in front of `rest`.
pub(super) fn read<'a>(rest: &mut Reader<'a>) -> Result<Row<'a>, MalformedDelta> {
    let [number] = *rest.array()?;
    Ok(match number {
        1 => Row::Author {
            number: rest.u32()?,
            node: NodeId::from_bytes(*rest.array()?),
        },
        2 => {
            let id = ContextId::from_bytes(*rest.array()?);
            let application = ApplicationId::from_bytes(*rest.array()?);
            let created = Hlc::from_bits(u64::from_le_bytes(*rest.array()?));
            let has_name = flag(rest)?;
            let name = text(rest, NAME_BYTES_MAX)?;
            if has_name == name.is_empty() {
                return Err(MalformedDelta("a context has an empty name"));
            }
            Row::Context {
                id,
                application,
                created,
                name: has_name.then_some(name),
            }
        }
        3 => Row::Head(HeadFields::read(rest)?),
        4 => Row::Value {
            space: space(rest)?,
            key: key(rest)?,
            dot: dot(rest)?,
            bytes: bytes(rest, VALUE_BYTES_MAX)?,
        },
        5 => Row::Sections {
            space: space(rest)?,
            key: key(rest)?,
            state: bytes(rest, CHUNK_BYTES_MAX)?,
        },
        6 => Row::Edit {
            space: space(rest)?,
            sequence: rest.array()?,
            dot: dot(rest)?,
            births: {
                let count = usize::from(rest.u16()?);
                rest.bounded(BIRTH_BYTES * count, BIRTH_BYTES * BIRTHS_MAX)?
                    .as_chunks::<BIRTH_BYTES>()
                    .0
            },
            seen: read_seen(rest)?,
            update: bytes(rest, VALUE_BYTES_MAX)?,
        },
        7 => Row::Litter {
            space: space(rest)?,
            sequence: rest.array()?,
            key: key(rest)?,
        },
        8 => Row::TrieNode {
            nibbles: short_bytes(rest, NIBBLES_MAX)?,
            node: bytes(rest, CHUNK_BYTES_MAX)?,
        },
        9 => Row::Past {
            id: DeltaId::from_bytes(*rest.array()?),
            dot: dot(rest)?,
            seen: read_seen(rest)?,
        },
        10 => Row::Delta {
            canonical: bytes(rest, CHUNK_BYTES_MAX)?,
            past: match flag(rest)? {
                true => Some((dot(rest)?, read_seen(rest)?)),
                false => None,
            },
        },
        11 => Row::Event {
            sequence: u64::from_le_bytes(*rest.array()?),
            delta: DeltaId::from_bytes(*rest.array()?),
            hlc: Hlc::from_bits(u64::from_le_bytes(*rest.array()?)),
            kind: text(rest, EVENT_KIND_BYTES_MAX)?,
            payload: bytes(rest, VALUE_BYTES_MAX)?,
        },
        12 => {
            let mut numbers = [0; 6];
            for number in &mut numbers {
                *number = u64::from_le_bytes(*rest.array()?);
            }
            let [entries, edits, trie_nodes, pasts, deltas, events] = numbers;
            let counts = Counts {
                entries,
                edits,
                trie_nodes,
                pasts,
                deltas,
                events,
            };
            Row::ContextEnd(counts, Root::from_bytes(*rest.array()?))
        }
        20 => Row::Node {
            id: NodeId::from_bytes(*rest.array()?),
            shards: rest.u16()?,
        },
        21 => Row::Application(ApplicationRecord {
            id: ApplicationId::from_bytes(*rest.array()?),
            size_bytes: u64::from_le_bytes(*rest.array()?),
            installed: Hlc::from_bits(u64::from_le_bytes(*rest.array()?)),
            name: long_text(rest)?,
            version: long_text(rest)?,
            description: long_text(rest)?,
        }),
        22 => Row::FilePart {
            kind: match *rest.array()? {
                [1] => FileKind::Component,
                [2] => FileKind::Blob,
                _ => return Err(MalformedDelta("a file is of an unknown kind")),
            },
            id: *rest.array()?,
            bytes: bytes(rest, CHUNK_BYTES_MAX)?,
        },
        23 => Row::Name {
            name: text(rest, NAME_BYTES_MAX)?,
            context: ContextId::from_bytes(*rest.array()?),
        },
        24 => Row::Key {
            name: text(rest, NAME_BYTES_MAX)?,
            bytes: bytes(rest, CHUNK_BYTES_MAX)?,
        },
        25 => {
            let mut numbers = [0; 4];
            for number in &mut numbers {
                *number = u64::from_le_bytes(*rest.array()?);
            }
            let [contexts, applications, files, names] = numbers;
            Row::BackupEnd(BackupCounts {
                contexts,
                applications,
                files,
                names,
            })
        }
        _ => {
            return Err(MalformedDelta(
                "a row is of a kind that this program does not know",
            ));
        }
    })
}

fn short(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&count16(bytes.len()));
    out.extend_from_slice(bytes);
}

fn count16(count: usize) -> [u8; 2] {
    let count = u16::try_from(count).expect("what is short was bounded when it was stored");
    count.to_le_bytes()
}

fn long(out: &mut Vec<u8>, bytes: &[u8]) {
    let count = u32::try_from(bytes.len()).expect("a record is below 2 GiB");
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(bytes);
}

fn write_dot(out: &mut Vec<u8>, dot: Dot) {
    out.extend_from_slice(&dot.author.to_le_bytes());
    out.extend_from_slice(&dot.hlc.bits().to_le_bytes());
}

fn write_seen(out: &mut Vec<u8>, seen: &[Dot]) {
    let count = u32::try_from(seen.len()).expect("authors have numbers of 32 bits");
    out.extend_from_slice(&count.to_le_bytes());
    seen.iter().for_each(|dot| write_dot(out, *dot));
}

fn read_seen(rest: &mut Reader<'_>) -> Result<Seen, MalformedDelta> {
    let count = rest.u32()? as usize;
    let bytes = rest.bounded(12 * count, 12 * AUTHORS_MAX)?;
    let mut rest = Reader(bytes);
    (0..count).map(|_| dot(&mut rest)).collect()
}

fn dot(rest: &mut Reader<'_>) -> Result<Dot, MalformedDelta> {
    Ok(Dot {
        author: rest.u32()?,
        hlc: Hlc::from_bits(u64::from_le_bytes(*rest.array()?)),
    })
}

fn space(rest: &mut Reader<'_>) -> Result<Space, MalformedDelta> {
    let [number] = *rest.array()?;
    Space::from_number(number).ok_or(MalformedDelta("a space is unknown"))
}

fn flag(rest: &mut Reader<'_>) -> Result<bool, MalformedDelta> {
    match *rest.array()? {
        [0] => Ok(false),
        [1] => Ok(true),
        _ => Err(MalformedDelta("a flag is neither set nor not")),
    }
}

fn key<'a>(rest: &mut Reader<'a>) -> Result<&'a [u8], MalformedDelta> {
    short_bytes(rest, KEY_BYTES_MAX)
}

fn short_bytes<'a>(rest: &mut Reader<'a>, max: usize) -> Result<&'a [u8], MalformedDelta> {
    let count = usize::from(rest.u16()?);
    rest.bounded(count, max)
}

fn bytes<'a>(rest: &mut Reader<'a>, max: usize) -> Result<&'a [u8], MalformedDelta> {
    let count = rest.u32()? as usize;
    rest.bounded(count, max)
}

fn text<'a>(rest: &mut Reader<'a>, max: usize) -> Result<&'a str, MalformedDelta> {
    std::str::from_utf8(short_bytes(rest, max)?).map_err(|_| MalformedDelta("a text is not UTF-8"))
}

fn long_text(rest: &mut Reader<'_>) -> Result<String, MalformedDelta> {
    let bytes = bytes(rest, APPLICATION_BYTES_MAX)?.to_vec();
    String::from_utf8(bytes).map_err(|_| MalformedDelta("a text is not UTF-8"))
}
