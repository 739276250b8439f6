//! A row read out of its bytes, each length held against its bound. What the rows are is
//! in `row.rs`.

use bytes::Bytes;

use super::{
    AUTHORS_MAX, BLOB_REASON_BYTES_MAX, BackupCounts, Counts, FileKind, HeadFields, IS_ERROR,
    NIBBLES_MAX, PRUNED, Row, SHARED, Seen, WITH_DELTA,
};
use crate::answer::{AnswerKey, KeptAnswer, RequestDigest, Said};
use crate::change::ApplicationRecord;
use crate::delta::{
    BIRTH_BYTES, BIRTHS_MAX, BirthsView, DELTA_PARENTS_MAX, MalformedDelta, Reader,
};
use crate::entry::Space;
use crate::export::frame::CHUNK_BYTES_MAX;
use crate::hlc::Hlc;
use crate::ids::{ApplicationId, BlobId, ContextId, DeltaId, NodeId, Root};
use crate::layout::{
    APPLICATION_BYTES_MAX, EVENT_KIND_BYTES_MAX, KEY_BYTES_MAX, NAME_BYTES_MAX, VALUE_BYTES_MAX,
};
use crate::quarantine::QUARANTINE_REASON_BYTES_MAX;
use crate::reuse::Reuse;
use crate::seal::{BRANCH_BYTES_MAX, BRANCH_DELTAS_MAX, SEAL_BYTES_MAX};
use crate::version::Dot;

/// The longest branch: its deltas, a length in front of each, and a seal.
const FORK_BYTES_MAX: usize = BRANCH_BYTES_MAX + 4 * BRANCH_DELTAS_MAX + SEAL_BYTES_MAX + 4;

/// Reads the row in front of `rest`.
pub(in crate::export) fn read<'a>(rest: &mut Reader<'a>) -> Result<Row<'a>, MalformedDelta> {
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
        number @ (6 | 30) => Row::Edit {
            space: space(rest)?,
            sequence: rest.array()?,
            dot: dot(rest)?,
            births: {
                let count = usize::from(rest.u16()?);
                let bytes = rest.bounded(BIRTH_BYTES * count, BIRTH_BYTES * BIRTHS_MAX)?;
                let (births, _) = bytes.as_chunks::<BIRTH_BYTES>();
                BirthsView::of(births, number == 30)
                    .ok_or(MalformedDelta("births are not in ascending order"))?
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
        12 => context_end(rest, Counts::OF_VERSION_1)?,
        13 => Row::Seal {
            delta: DeltaId::from_bytes(*rest.array()?),
            hlc: Hlc::from_bits(u64::from_le_bytes(*rest.array()?)),
            version: u64::from_le_bytes(*rest.array()?),
            seal: bytes(rest, SEAL_BYTES_MAX)?,
        },
        14 => Row::Fork {
            known: bytes(rest, FORK_BYTES_MAX)?,
            other: bytes(rest, FORK_BYTES_MAX)?,
        },
        15 => answer(rest)?,
        16 => Row::Members {
            pruned: read_seen(rest)?,
        },
        17 => Row::Member {
            node: NodeId::from_bytes(*rest.array()?),
            since: Hlc::from_bits(u64::from_le_bytes(*rest.array()?)),
            is_away: flag(rest)?,
            seen: read_seen(rest)?,
        },
        18 => context_end(rest, Counts::default().as_array().len())?,
        20 => Row::Node {
            id: NodeId::from_bytes(*rest.array()?),
            shards: rest.u16()?,
        },
        21 => Row::Application(application(rest, Reuse::default())?),
        40 => {
            let reuse = Reuse::of(u8::from_le_bytes(*rest.array()?));
            let unknown = MalformedDelta("an application's reuse is unknown to this program");
            Row::Application(application(rest, reuse.ok_or(unknown)?)?)
        }
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
        25 => backup_end(rest, BackupCounts::OF_VERSION_1)?,
        26 => Row::LeftOut {
            id: ContextId::from_bytes(*rest.array()?),
            why: text(rest, QUARANTINE_REASON_BYTES_MAX)?,
        },
        27 => backup_end(rest, BackupCounts::WITH_BLOBS)?,
        28 => Row::BlobLeftOut {
            id: BlobId::from_bytes(*rest.array()?),
            why: text(rest, BLOB_REASON_BYTES_MAX)?,
        },
        29 => backup_end(rest, BackupCounts::default().as_array().len())?,
        _ => {
            return Err(MalformedDelta(
                "a row is of a kind that this program does not know",
            ));
        }
    })
}

/// The numbers of which the file has the first `count`.
fn numbers<const N: usize>(
    rest: &mut Reader<'_>,
    count: usize,
) -> Result<[u64; N], MalformedDelta> {
    let mut numbers = [0; N];
    for number in &mut numbers[..count] {
        *number = u64::from_le_bytes(*rest.array()?);
    }
    Ok(numbers)
}

fn application(rest: &mut Reader<'_>, reuse: Reuse) -> Result<ApplicationRecord, MalformedDelta> {
    Ok(ApplicationRecord {
        id: ApplicationId::from_bytes(*rest.array()?),
        size_bytes: u64::from_le_bytes(*rest.array()?),
        installed: Hlc::from_bits(u64::from_le_bytes(*rest.array()?)),
        name: long_text(rest)?,
        version: long_text(rest)?,
        description: long_text(rest)?,
        reuse,
    })
}

fn context_end<'a>(rest: &mut Reader<'a>, count: usize) -> Result<Row<'a>, MalformedDelta> {
    let counts = Counts::from_array(numbers(rest, count)?);
    Ok(Row::ContextEnd(counts, Root::from_bytes(*rest.array()?)))
}

fn backup_end<'a>(rest: &mut Reader<'a>, count: usize) -> Result<Row<'a>, MalformedDelta> {
    Ok(Row::BackupEnd(BackupCounts::from_array(numbers(
        rest, count,
    )?)))
}

fn answer<'a>(rest: &mut Reader<'a>) -> Result<Row<'a>, MalformedDelta> {
    let key = AnswerKey::from_bytes(*rest.array()?);
    let request = RequestDigest::from_bytes(*rest.array()?);
    let root = Root::from_bytes(*rest.array()?);
    let [hlc, fuel_used] = numbers(rest, 2)?;
    let [flags] = *rest.array()?;
    if flags > WITH_DELTA | IS_ERROR {
        return Err(MalformedDelta("an answer has unknown flags"));
    }
    let delta = *rest.array()?;
    let text = Bytes::copy_from_slice(bytes(rest, CHUNK_BYTES_MAX)?);
    let answer = KeptAnswer {
        request,
        hlc: Hlc::from_bits(hlc),
        fuel_used,
        delta_id: (flags & WITH_DELTA != 0).then(|| DeltaId::from_bytes(delta)),
        root,
        said: Said::of(text, flags & IS_ERROR != 0),
    };
    Ok(Row::Answer { key, answer })
}

impl HeadFields {
    fn read(rest: &mut Reader<'_>) -> Result<HeadFields, MalformedDelta> {
        let root = Root::from_bytes(*rest.array()?);
        let [
            version,
            entries,
            replicated,
            bytes,
            hlc,
            log_follows,
            events_first,
            events_last,
        ] = numbers(rest, 8)?;
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
