//! The values of a ledger: one envelope around rkyv archives, and the types
//! inside. An archive is checked here, each time it is read, and nowhere
//! trusted before. Where the values lie is in `layout.rs`.
//!
//! Envelope: version (1 byte), kind (1 byte), checksum (8 bytes), archive. The
//! checksum covers version, kind, key and archive, so that a record that turns
//! up under another key is noticed as well.

use bytes::Bytes;
use rkyv::api::high::{HighSerializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Failure;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::with::InlineAsBox;
use rkyv::{Archive, Portable, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::answer::{KeptAnswer, RequestDigest, Said};
use crate::change::ApplicationRecord;
use crate::delta::BIRTH_BYTES;
use crate::entry::{EntryKind, State, Stored, Value};
use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::ids::{ApplicationId, ContextId, ContextSlot, DeltaId, NodeId, Root};
use crate::version::{Dot, VersionVector};

/// The version of every record format so far.
const RECORD_VERSION: u8 = 1;

/// Bytes in front of the archive.
const ENVELOPE_BYTES: usize = 10;

/// What a record is. The numbers are part of the disk format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum RecordKind {
    Format = 1,
    Slots = 2,
    Context = 3,
    HeadOfFormat3 = 4,
    Entry = 5,
    Event = 7,
    Application = 8,
    Name = 9,
    Author = 10,
    Journal = 12,
    Identity = 13,
    JournalFile = 14,
    Head = 15,
    Log = 16,
    Dag = 17,
    Edit = 18,
    Litter = 19,
    Trie = 21,
    Counters = 22,
    Attached = 30,
    AttachedSum = 31,
    Tally = 50,
    Mark = 51,
    Members = 52,
    Ack = 53,
    Quarantine = 54,
    Aside = 55,
    GraveOfFormat3 = 11,
    Grave = 20,
    Seal = 40,
    Fork = 41,
    BacklogWithoutStamps = 42,
    Backlog = 60,
    EditSeen = 43,
    EditAfterOthers = 61,
    Saved = 44,
    SavedPart = 45,
    Answer = 46,
    AnswerAge = 47,
    AnswerTally = 48,
}

impl RecordKind {
    /// The kind's name in messages.
    pub(crate) const fn what(self) -> &'static str {
        match self {
            RecordKind::Format => "format record",
            RecordKind::Slots => "slots record",
            RecordKind::Context => "context record",
            RecordKind::HeadOfFormat3 | RecordKind::Head => "head record",
            RecordKind::Entry => "entry",
            RecordKind::Log => "log record",
            RecordKind::Dag => "record of a delta's past",
            RecordKind::Edit | RecordKind::EditAfterOthers => "edit",
            RecordKind::EditSeen => "record of what an edit had seen",
            RecordKind::Trie => "node of a trie",
            RecordKind::Counters => "record of positions and stamps",
            RecordKind::Tally => "record of a context's sizes",
            RecordKind::Mark => "mark in a context's history",
            RecordKind::Members => "record of a context's members",
            RecordKind::Ack => "acknowledgement of a member",
            RecordKind::Quarantine => "record of a quarantine",
            RecordKind::Aside => "call that was put aside",
            RecordKind::Litter => "record of removed edits",
            RecordKind::Attached => "record of an attachment",
            RecordKind::AttachedSum => "sum of attachments",
            RecordKind::Saved => "saved list",
            RecordKind::SavedPart => "part of a saved list",
            RecordKind::Event => "event record",
            RecordKind::Application => "application record",
            RecordKind::Name => "name record",
            RecordKind::Author => "author record",
            RecordKind::GraveOfFormat3 | RecordKind::Grave => "grave record",
            RecordKind::Answer => "answer",
            RecordKind::AnswerAge => "record of an answer's age",
            RecordKind::AnswerTally => "tally of answers",
            RecordKind::Journal => "record of the journal",
            RecordKind::Identity => "identity record",
            RecordKind::JournalFile => "record of the journal's file",
            RecordKind::Seal => "seal",
            RecordKind::Fork => "proof against an author",
            RecordKind::BacklogWithoutStamps | RecordKind::Backlog => "record of a backlog",
        }
    }
}

/// A type that can be the content of a record.
pub(crate) trait Record:
    for<'a> Serialize<HighSerializer<Vec<u8>, ArenaHandle<'a>, Failure>>
{
    const KIND: RecordKind;
}

/// Writes the record of `value` under `key` into `out`, whose memory is reused.
pub(crate) fn seal<R: Record>(out: &mut Vec<u8>, key: &[u8], value: &R) {
    let mut bytes = std::mem::take(out);
    bytes.clear();
    bytes.extend_from_slice(&[RECORD_VERSION, R::KIND as u8, 0, 0, 0, 0, 0, 0, 0, 0]);
    let mut bytes = rkyv::api::high::to_bytes_in::<_, Failure>(value, bytes)
        .expect("an archive of plain values below 2 GiB can always be written");
    let sum = checksum(RECORD_VERSION, R::KIND as u8, key, &bytes[ENVELOPE_BYTES..]);
    bytes[2..ENVELOPE_BYTES].copy_from_slice(&sum.to_le_bytes());
    *out = bytes;
}

/// Checks the record read from under `key` and gives its content.
pub(crate) fn open<'a, R>(key: &[u8], bytes: &'a [u8]) -> Result<&'a R::Archived, StoreError>
where
    R: Record,
    R::Archived: Portable + for<'b> CheckBytes<HighValidator<'b, Failure>>,
{
    let corrupt = |why| StoreError::corrupt(R::KIND.what(), key, why);
    let Some((envelope, archive)) = bytes.split_first_chunk::<ENVELOPE_BYTES>() else {
        return Err(corrupt("it is shorter than its envelope"));
    };
    let [version, kind, sum @ ..] = *envelope;
    if u64::from_le_bytes(sum) != checksum(version, kind, key, archive) {
        return Err(corrupt("its checksum does not match"));
    }
    if version != RECORD_VERSION {
        return Err(corrupt("its format version is unknown to this program"));
    }
    if kind != R::KIND as u8 {
        return Err(corrupt("it is a record of another kind"));
    }
    rkyv::access::<R::Archived, Failure>(archive).map_err(|_| corrupt("its archive is malformed"))
}

fn checksum(version: u8, kind: u8, key: &[u8], archive: &[u8]) -> u64 {
    let seed = xxh3_64(key) ^ u64::from(u16::from_le_bytes([version, kind]));
    xxh3_64_with_seed(archive, seed)
}

/// The ledger's format version.
#[derive(Archive, Serialize)]
pub(crate) struct FormatRecord {
    pub(crate) version: u32,
}

/// The slots given so far.
#[derive(Archive, Serialize)]
pub(crate) struct SlotsRecord {
    pub(crate) next: u64,
}

/// The next position of the log, which must not be given again when the log was
/// pruned or swept empty, and the newest stamp, which is not the last delta's if
/// that came from another node, nor any delta's if a call made none.
#[derive(Archive, Serialize)]
pub(crate) struct CountersRecord {
    pub(crate) position: u64,
    pub(crate) hlc: u64,
}

/// Which records of the journal follow what is in the ledger.
#[derive(Archive, Serialize)]
pub(crate) struct JournalRecord {
    pub(crate) generation: u64,
    pub(crate) seed: u64,
}

/// Whose ledger it is.
#[derive(Archive, Serialize)]
pub(crate) struct IdentityRecord {
    pub(crate) data: [u8; 32],
    pub(crate) shard: u16,
}

/// How large the journal's file is at least.
#[derive(Archive, Serialize)]
pub(crate) struct JournalFileRecord {
    pub(crate) bytes: u64,
}

#[derive(Archive, Serialize)]
pub(crate) struct ContextRow<'a> {
    pub(crate) slot: u64,
    pub(crate) created: u64,
    pub(crate) application: [u8; 32],
    #[rkyv(with = rkyv::with::Map<InlineAsBox>)]
    pub(crate) name: Option<&'a str>,
}

/// A head as formats up to 3 had it, for taking them over.
#[derive(Archive, Serialize)]
pub(crate) struct HeadRowOfFormat3<'a> {
    pub(crate) context: [u8; 32],
    pub(crate) root: [u8; 32],
    pub(crate) version: u64,
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    pub(crate) hlc: u64,
    pub(crate) log_last: u64,
    pub(crate) events_last: u64,
    #[rkyv(with = InlineAsBox)]
    pub(crate) deltas: &'a [[u8; 32]],
}

#[derive(Archive, Serialize)]
pub(crate) struct HeadRow<'a> {
    pub(crate) context: [u8; 32],
    pub(crate) root: [u8; 32],
    pub(crate) version: u64,
    pub(crate) entries: u64,
    pub(crate) replicated: u64,
    pub(crate) bytes: u64,
    pub(crate) hlc: u64,
    pub(crate) log_last: u64,
    pub(crate) log_pruned: u64,
    pub(crate) log_count: u64,
    pub(crate) events_first: u64,
    pub(crate) events_last: u64,
    pub(crate) is_shared: bool,
    #[rkyv(with = InlineAsBox)]
    pub(crate) deltas: &'a [[u8; 32]],
    #[rkyv(with = InlineAsBox)]
    pub(crate) seen: &'a [SeenRow],
}

/// One author of a version vector.
#[derive(Archive, Serialize, Clone, Copy)]
pub(crate) struct SeenRow {
    pub(crate) author: u32,
    pub(crate) hlc: u64,
}

/// What stands in an entry's record in the place of its kind if its value is a row
/// of sections. Everything else is a register with one value.
const SECTIONS: u8 = 64;

#[derive(Archive, Serialize)]
pub(crate) struct EntryRow<'a> {
    hlc: u64,
    author: u32,
    kind: u8,
    #[rkyv(with = InlineAsBox)]
    value: &'a [u8],
}

impl<'a> EntryRow<'a> {
    pub(crate) fn value(dot: Dot, value: &'a [u8]) -> EntryRow<'a> {
        EntryRow {
            hlc: dot.hlc.bits(),
            author: dot.author,
            kind: EntryKind::Register.number(),
            value,
        }
    }

    pub(crate) fn sections(sections: &'a [u8]) -> EntryRow<'a> {
        EntryRow {
            hlc: 0,
            author: 0,
            kind: SECTIONS,
            value: sections,
        }
    }
}

/// A node of a trie, whose own form is `trie/`'s.
#[derive(Archive, Serialize)]
pub(crate) struct TrieRow<'a> {
    #[rkyv(with = InlineAsBox)]
    pub(crate) node: &'a [u8],
}

/// An edit of a list or text.
#[derive(Archive, Serialize)]
pub(crate) struct EditRow<'a> {
    /// What it builds on; none if it has begun the sequence.
    #[rkyv(with = InlineAsBox)]
    pub(crate) births: &'a [[u8; BIRTH_BYTES]],
    #[rkyv(with = InlineAsBox)]
    pub(crate) update: &'a [u8],
}

/// The same of one that had seen edits of others: there is an [`EditSeenRow`] beside it. Until
/// there was this kind, an edit did not say whether there is.
#[derive(Archive, Serialize)]
pub(crate) struct EditAfterOthersRow<'a> {
    pub(crate) edit: EditRow<'a>,
}

/// What an edit had seen of the other authors of its sequence.
#[derive(Archive, Serialize)]
pub(crate) struct EditSeenRow<'a> {
    #[rkyv(with = InlineAsBox)]
    pub(crate) seen: &'a [SeenRow],
}

/// A sequence of which edits have become litter.
#[derive(Archive, Serialize)]
pub(crate) struct LitterRow<'a> {
    /// The key of its entry.
    #[rkyv(with = InlineAsBox)]
    pub(crate) key: &'a [u8],
    /// Behind which edit the sweep goes on; empty at its beginning.
    #[rkyv(with = InlineAsBox)]
    pub(crate) after: &'a [u8],
}

/// That a context has a blob attached, which its key says.
#[derive(Archive, Serialize)]
pub(crate) struct AttachedRow {}

/// How much a context has attached.
#[derive(Archive, Serialize)]
pub(crate) struct AttachedSumRow {
    pub(crate) blobs: u64,
    /// Bytes of their contents.
    pub(crate) bytes: u64,
}

/// A list or text as a whole, beside its parts.
#[derive(Archive, Serialize)]
pub(crate) struct SavedRow<'a> {
    /// The births that it had.
    #[rkyv(with = InlineAsBox)]
    pub(crate) births: &'a [[u8; BIRTH_BYTES]],
    /// How many edits it is made of, and the last of them.
    pub(crate) edits: u64,
    pub(crate) hlc: u64,
    pub(crate) author: u32,
    /// How many records its bytes are in, and how many bytes.
    pub(crate) parts: u32,
    pub(crate) bytes: u64,
}

/// Some of its bytes.
#[derive(Archive, Serialize)]
pub(crate) struct SavedPartRow<'a> {
    #[rkyv(with = InlineAsBox)]
    pub(crate) bytes: &'a [u8],
}

/// What a delta had seen that others may name as a parent.
#[derive(Archive, Serialize)]
pub(crate) struct DagRow<'a> {
    /// Its place in the log; 0 if it came with a snapshot.
    pub(crate) position: u64,
    pub(crate) author: u32,
    pub(crate) hlc: u64,
    #[rkyv(with = InlineAsBox)]
    pub(crate) seen: &'a [SeenRow],
}

#[derive(Archive, Serialize)]
pub(crate) struct LogRow<'a> {
    pub(crate) slot: u64,
    /// Position of the context's delta before this one; 0 if there is none.
    pub(crate) previous: u64,
    /// The delta's canonical bytes, as hashed.
    #[rkyv(with = InlineAsBox)]
    pub(crate) canonical: &'a [u8],
}

#[derive(Archive, Serialize)]
pub(crate) struct EventRow<'a> {
    pub(crate) delta: [u8; 32],
    pub(crate) hlc: u64,
    #[rkyv(with = InlineAsBox)]
    pub(crate) kind: &'a str,
    #[rkyv(with = InlineAsBox)]
    pub(crate) payload: &'a [u8],
}

#[derive(Archive, Serialize)]
pub(crate) struct ApplicationRow<'a> {
    pub(crate) size_bytes: u64,
    pub(crate) installed: u64,
    #[rkyv(with = InlineAsBox)]
    pub(crate) name: &'a str,
    #[rkyv(with = InlineAsBox)]
    pub(crate) version: &'a str,
    #[rkyv(with = InlineAsBox)]
    pub(crate) description: &'a str,
}

#[derive(Archive, Serialize)]
pub(crate) struct NameRow {
    pub(crate) context: [u8; 32],
}

#[derive(Archive, Serialize)]
pub(crate) struct AuthorRow {
    pub(crate) node: [u8; 32],
}

/// A grave as formats up to 3 had it, for taking them over.
#[derive(Archive, Serialize)]
pub(crate) struct GraveRowOfFormat3 {
    pub(crate) context: [u8; 32],
    pub(crate) log_last: u64,
}

#[derive(Archive, Serialize)]
pub(crate) struct GraveRow {
    pub(crate) context: [u8; 32],
    /// The newest log record that is still there; 0 if none is.
    pub(crate) log_last: u64,
    /// The newest that was gone before the context was; 0 if none was.
    pub(crate) log_pruned: u64,
}

/// An answer that is kept under a caller's key.
#[derive(Archive, Serialize)]
pub(crate) struct AnswerRow<'a> {
    pub(crate) request: [u8; 32],
    pub(crate) root: [u8; 32],
    pub(crate) delta: Option<[u8; 32]>,
    pub(crate) hlc: u64,
    pub(crate) fuel_used: u64,
    pub(crate) is_error: bool,
    #[rkyv(with = InlineAsBox)]
    pub(crate) text: &'a [u8],
}

/// What one answer counts for.
#[derive(Archive, Serialize)]
pub(crate) struct AnswerAgeRow {
    pub(crate) bytes: u64,
}

/// What all answers of a context count for.
#[derive(Archive, Serialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AnswerTally {
    pub(crate) count: u64,
    pub(crate) bytes: u64,
}

/// An author's seal on one of its deltas.
#[derive(Archive, Serialize)]
pub(crate) struct SealRow<'a> {
    pub(crate) delta: [u8; 32],
    /// The context's when it came.
    pub(crate) version: u64,
    /// Its canonical bytes.
    #[rkyv(with = InlineAsBox)]
    pub(crate) seal: &'a [u8],
}

/// Proof that an author has made two deltas that do not know of each other. Both
/// have the form of a [`crate::seal::Branch`].
#[derive(Archive, Serialize)]
pub(crate) struct ForkRow<'a> {
    /// What is part of the state.
    #[rkyv(with = InlineAsBox)]
    pub(crate) known: &'a [u8],
    /// What is not.
    #[rkyv(with = InlineAsBox)]
    pub(crate) other: &'a [u8],
}

/// What is left to do for a context that was shared, as programs wrote it that kept no stamps.
#[derive(Archive, Serialize)]
pub(crate) struct BacklogRowWithoutStamps<'a> {
    pub(crate) position: u64,
    #[rkyv(with = InlineAsBox)]
    pub(crate) authors: &'a [u32],
}

/// What is left to do for a context that was shared.
#[derive(Archive, Serialize)]
pub(crate) struct BacklogRow<'a> {
    /// The position of the newest delta that others cannot name as a parent yet.
    pub(crate) position: u64,
    /// Who had made deltas before the context was shared, and the newest of each.
    #[rkyv(with = InlineAsBox)]
    pub(crate) seen: &'a [SeenRow],
}

impl Record for SealRow<'_> {
    const KIND: RecordKind = RecordKind::Seal;
}
impl Record for ForkRow<'_> {
    const KIND: RecordKind = RecordKind::Fork;
}
impl Record for BacklogRowWithoutStamps<'_> {
    const KIND: RecordKind = RecordKind::BacklogWithoutStamps;
}
impl Record for BacklogRow<'_> {
    const KIND: RecordKind = RecordKind::Backlog;
}
impl Record for FormatRecord {
    const KIND: RecordKind = RecordKind::Format;
}
impl Record for SlotsRecord {
    const KIND: RecordKind = RecordKind::Slots;
}
impl Record for CountersRecord {
    const KIND: RecordKind = RecordKind::Counters;
}
impl Record for JournalRecord {
    const KIND: RecordKind = RecordKind::Journal;
}
impl Record for IdentityRecord {
    const KIND: RecordKind = RecordKind::Identity;
}
impl Record for JournalFileRecord {
    const KIND: RecordKind = RecordKind::JournalFile;
}
impl Record for ContextRow<'_> {
    const KIND: RecordKind = RecordKind::Context;
}
impl Record for HeadRowOfFormat3<'_> {
    const KIND: RecordKind = RecordKind::HeadOfFormat3;
}
impl Record for HeadRow<'_> {
    const KIND: RecordKind = RecordKind::Head;
}
impl Record for EditRow<'_> {
    const KIND: RecordKind = RecordKind::Edit;
}
impl Record for EditAfterOthersRow<'_> {
    const KIND: RecordKind = RecordKind::EditAfterOthers;
}
impl Record for TrieRow<'_> {
    const KIND: RecordKind = RecordKind::Trie;
}
impl Record for EditSeenRow<'_> {
    const KIND: RecordKind = RecordKind::EditSeen;
}
impl Record for SavedRow<'_> {
    const KIND: RecordKind = RecordKind::Saved;
}
impl Record for SavedPartRow<'_> {
    const KIND: RecordKind = RecordKind::SavedPart;
}
impl Record for LitterRow<'_> {
    const KIND: RecordKind = RecordKind::Litter;
}
impl Record for AttachedRow {
    const KIND: RecordKind = RecordKind::Attached;
}
impl Record for AttachedSumRow {
    const KIND: RecordKind = RecordKind::AttachedSum;
}
impl Record for DagRow<'_> {
    const KIND: RecordKind = RecordKind::Dag;
}
impl Record for EntryRow<'_> {
    const KIND: RecordKind = RecordKind::Entry;
}
impl Record for LogRow<'_> {
    const KIND: RecordKind = RecordKind::Log;
}
impl Record for EventRow<'_> {
    const KIND: RecordKind = RecordKind::Event;
}
impl Record for ApplicationRow<'_> {
    const KIND: RecordKind = RecordKind::Application;
}
impl Record for NameRow {
    const KIND: RecordKind = RecordKind::Name;
}
impl Record for AuthorRow {
    const KIND: RecordKind = RecordKind::Author;
}
impl Record for GraveRowOfFormat3 {
    const KIND: RecordKind = RecordKind::GraveOfFormat3;
}
impl Record for AnswerRow<'_> {
    const KIND: RecordKind = RecordKind::Answer;
}
impl Record for AnswerAgeRow {
    const KIND: RecordKind = RecordKind::AnswerAge;
}
impl Record for AnswerTally {
    const KIND: RecordKind = RecordKind::AnswerTally;
}
impl Record for GraveRow {
    const KIND: RecordKind = RecordKind::Grave;
}

/// A context as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextRecord {
    /// Its id.
    pub id: ContextId,
    /// Its number on this shard.
    pub slot: ContextSlot,
    /// Its name.
    pub name: Option<String>,
    /// The application that it runs.
    pub application: ApplicationId,
    /// When it was made.
    pub created: Hlc,
}

impl ContextRecord {
    pub(crate) fn read(key: &[u8], bytes: &[u8]) -> Result<ContextRecord, StoreError> {
        let row = open::<ContextRow>(key, bytes)?;
        Ok(ContextRecord {
            id: ContextId::from_bytes(id_key(key, RecordKind::Context)?),
            slot: ContextSlot::new(row.slot.to_native()),
            name: row.name.as_ref().map(|name| name.as_ref().to_owned()),
            application: ApplicationId::from_bytes(row.application),
            created: Hlc::from_bits(row.created.to_native()),
        })
    }

    pub(crate) fn seal(&self, out: &mut Vec<u8>) {
        let row = ContextRow {
            slot: self.slot.number(),
            created: self.created.bits(),
            application: *self.application.as_bytes(),
            name: self.name.as_deref(),
        };
        seal(out, self.id.as_bytes(), &row);
    }
}

/// Where a context stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The context.
    pub context: ContextId,
    /// The digest of its state.
    pub root: Root,
    /// How often its state has changed.
    pub version: u64,
    /// How many entries its shared space has.
    pub entries: u64,
    /// How many entries other nodes have as well: those of the trie.
    pub replicated: u64,
    /// Bytes of all keys and values, edits and dots, in all spaces.
    pub bytes: u64,
    /// The latest stamp of its deltas.
    pub hlc: Hlc,
    /// The position of its last delta in the log; 0 if it has none.
    pub log_last: u64,
    /// The position of the newest delta that was pruned; 0 if none was.
    pub log_pruned: u64,
    /// How many deltas of it the log has.
    pub log_count: u64,
    /// The sequence number of its oldest event that is kept.
    pub events_first: u64,
    /// The sequence number of its last event; one less than the first if it has none.
    pub events_last: u64,
    /// Whether other nodes may have it, so that deltas can come from them.
    pub is_shared: bool,
    /// The deltas that no other delta follows, in ascending order. One, unless nodes
    /// wrote at once.
    pub deltas: Vec<DeltaId>,
    /// Every author's newest delta that was applied.
    pub(crate) seen: VersionVector,
}

impl Head {
    /// The head of a context before its first delta.
    pub(crate) fn new(context: ContextId) -> Head {
        Head {
            context,
            root: Root::EMPTY,
            version: 0,
            entries: 0,
            replicated: 0,
            bytes: 0,
            hlc: Hlc::ZERO,
            log_last: 0,
            log_pruned: 0,
            log_count: 0,
            events_first: 1,
            events_last: 0,
            is_shared: false,
            deltas: Vec::new(),
            seen: VersionVector::default(),
        }
    }

    /// As formats up to 3 had it: without what it has seen, as numbers of authors
    /// are not known here.
    pub(crate) fn read_format_3(key: &[u8], bytes: &[u8]) -> Result<Head, StoreError> {
        let row = open::<HeadRowOfFormat3>(key, bytes)?;
        Ok(Head {
            root: Root::from_bytes(row.root),
            version: row.version.to_native(),
            entries: row.entries.to_native(),
            bytes: row.bytes.to_native(),
            hlc: Hlc::from_bits(row.hlc.to_native()),
            log_last: row.log_last.to_native(),
            events_last: row.events_last.to_native(),
            deltas: row
                .deltas
                .iter()
                .map(|id| DeltaId::from_bytes(*id))
                .collect(),
            ..Head::new(ContextId::from_bytes(row.context))
        })
    }

    pub(crate) fn read(key: &[u8], bytes: &[u8]) -> Result<Head, StoreError> {
        let row = open::<HeadRow>(key, bytes)?;
        Ok(Head {
            context: ContextId::from_bytes(row.context),
            root: Root::from_bytes(row.root),
            version: row.version.to_native(),
            entries: row.entries.to_native(),
            replicated: row.replicated.to_native(),
            bytes: row.bytes.to_native(),
            hlc: Hlc::from_bits(row.hlc.to_native()),
            log_last: row.log_last.to_native(),
            log_pruned: row.log_pruned.to_native(),
            log_count: row.log_count.to_native(),
            events_first: row.events_first.to_native(),
            events_last: row.events_last.to_native(),
            is_shared: row.is_shared,
            deltas: row
                .deltas
                .iter()
                .map(|id| DeltaId::from_bytes(*id))
                .collect(),
            seen: read_seen(RecordKind::Head, key, &row.seen)?,
        })
    }

    pub(crate) fn seal(&self, out: &mut Vec<u8>, key: &[u8]) {
        // One delta is the rule; more need a buffer.
        let one;
        let many;
        let deltas: &[[u8; 32]] = match self.deltas.as_slice() {
            [id] => {
                one = [*id.as_bytes()];
                &one
            }
            ids => {
                many = ids.iter().map(|id| *id.as_bytes()).collect::<Vec<_>>();
                &many
            }
        };
        let row = HeadRow {
            context: *self.context.as_bytes(),
            root: *self.root.as_bytes(),
            version: self.version,
            entries: self.entries,
            replicated: self.replicated,
            bytes: self.bytes,
            hlc: self.hlc.bits(),
            log_last: self.log_last,
            log_pruned: self.log_pruned,
            log_count: self.log_count,
            events_first: self.events_first,
            events_last: self.events_last,
            is_shared: self.is_shared,
            deltas,
            seen: &seen_rows(&self.seen),
        };
        seal(out, key, &row);
    }
}

pub(crate) fn seen_rows(seen: &VersionVector) -> Vec<SeenRow> {
    let row = |&(author, hlc): &(u32, Hlc)| SeenRow {
        author,
        hlc: hlc.bits(),
    };
    seen.pairs().iter().map(row).collect()
}

pub(crate) fn read_seen(
    kind: RecordKind,
    key: &[u8],
    rows: &[ArchivedSeenRow],
) -> Result<VersionVector, StoreError> {
    let pair =
        |row: &ArchivedSeenRow| (row.author.to_native(), Hlc::from_bits(row.hlc.to_native()));
    VersionVector::from_pairs(rows.iter().map(pair)).ok_or_else(|| {
        StoreError::corrupt(kind.what(), key, "its authors are not in ascending order")
    })
}

/// Writes the record of an edit. `has_seen` says whether there is one of what it had seen.
pub(crate) fn seal_edit(out: &mut Vec<u8>, key: &[u8], edit: EditRow<'_>, has_seen: bool) {
    match has_seen {
        true => seal(out, key, &EditAfterOthersRow { edit }),
        false => seal(out, key, &edit),
    }
}

/// Reads the record of an edit, and whether it says that there is one of what it had seen.
pub(crate) fn read_edit<'a>(
    key: &[u8],
    bytes: &'a [u8],
) -> Result<(&'a ArchivedEditRow<'a>, bool), StoreError> {
    match bytes.get(1) {
        Some(&kind) if kind == RecordKind::EditAfterOthers as u8 => {
            Ok((&open::<EditAfterOthersRow>(key, bytes)?.edit, true))
        }
        _ => Ok((open::<EditRow>(key, bytes)?, false)),
    }
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
    /// Counts the context's events, from 1.
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
        let row = open::<ApplicationRow>(key, bytes)?;
        Ok(ApplicationRecord {
            id: ApplicationId::from_bytes(id_key(key, RecordKind::Application)?),
            name: row.name.get().to_owned(),
            version: row.version.get().to_owned(),
            size_bytes: row.size_bytes.to_native(),
            installed: Hlc::from_bits(row.installed.to_native()),
            description: row.description.get().to_owned(),
        })
    }

    pub(crate) fn seal(&self, out: &mut Vec<u8>) {
        let row = ApplicationRow {
            size_bytes: self.size_bytes,
            installed: self.installed.bits(),
            name: &self.name,
            version: &self.version,
            description: &self.description,
        };
        seal(out, self.id.as_bytes(), &row);
    }
}

pub(crate) fn read_name(key: &[u8], bytes: &[u8]) -> Result<ContextId, StoreError> {
    Ok(ContextId::from_bytes(open::<NameRow>(key, bytes)?.context))
}

pub(crate) fn read_author(key: &[u8], bytes: &[u8]) -> Result<NodeId, StoreError> {
    Ok(NodeId::from_bytes(open::<AuthorRow>(key, bytes)?.node))
}

pub(crate) fn id_key(key: &[u8], kind: RecordKind) -> Result<[u8; 32], StoreError> {
    key.try_into()
        .map_err(|_| StoreError::corrupt(kind.what(), key, "its key is not 32 bytes long"))
}
