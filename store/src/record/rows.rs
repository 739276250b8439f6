//! The archives inside of records: a type for each kind, and its number. Those of contexts
//! that are out of service, of members and of tallies are beside what they are for. No reading here
//! (see `read.rs` and `context.rs`).

use rkyv::with::InlineAsBox;
use rkyv::{Archive, Serialize};

use super::{Record, RecordKind};
use crate::delta::BIRTH_BYTES;
use crate::entry::EntryKind;
use crate::version::Dot;

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

/// The numbers of authors given so far, and how many of them are nobody's any more. There is none before
/// the first author is dropped; those given since are in their own table.
#[derive(Archive, Serialize)]
pub(crate) struct AuthorsRecord {
    pub(crate) next: u32,
    pub(crate) dropped: u32,
}

/// Damage that belongs to no context and was looked into: see `start_check.rs`.
#[derive(Archive, Serialize)]
pub(crate) struct DamageSeenRecord {
    pub(crate) digest: [u8; 32],
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
pub(super) const SECTIONS: u8 = 64;

#[derive(Archive, Serialize)]
pub(crate) struct EntryRow<'a> {
    pub(super) hlc: u64,
    pub(super) author: u32,
    pub(super) kind: u8,
    #[rkyv(with = InlineAsBox)]
    pub(super) value: &'a [u8],
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

/// The same of one that is linked to what it builds on, and of such a one that had seen others.
#[derive(Archive, Serialize)]
pub(crate) struct LinkedEditRow<'a> {
    pub(crate) edit: EditRow<'a>,
}

/// See [`LinkedEditRow`].
#[derive(Archive, Serialize)]
pub(crate) struct LinkedEditAfterOthersRow<'a> {
    pub(crate) edit: EditRow<'a>,
}

/// Edits of a sequence that lie next to each other: see `packs.rs`.
#[derive(Archive, Serialize)]
pub(crate) struct PackRow<'a> {
    #[rkyv(with = InlineAsBox)]
    pub(crate) authors: &'a [u32],
    /// Of all bases, one behind the other.
    #[rkyv(with = InlineAsBox)]
    pub(crate) births: &'a [[u8; BIRTH_BYTES]],
    #[rkyv(with = InlineAsBox)]
    pub(crate) bases: &'a [PackedBasisRow],
    /// In ascending order of stamps and authors.
    #[rkyv(with = InlineAsBox)]
    pub(crate) edits: &'a [PackedEditRow],
    /// Of all edits, one behind the other.
    #[rkyv(with = InlineAsBox)]
    pub(crate) seen: &'a [SeenRow],
    #[rkyv(with = InlineAsBox)]
    pub(crate) updates: &'a [u8],
}

/// What some edits of a pack build on.
#[derive(Archive, Serialize, Clone, Copy)]
pub(crate) struct PackedBasisRow {
    /// How many births.
    pub(crate) births: u8,
    pub(crate) is_linked: bool,
}

/// An edit in a pack.
#[derive(Archive, Serialize, Clone, Copy)]
pub(crate) struct PackedEditRow {
    pub(crate) hlc: u64,
    pub(crate) update_bytes: u16,
    /// Which of the pack's authors and bases.
    pub(crate) author: u8,
    pub(crate) basis: u8,
    /// Of how many authors it had seen something.
    pub(crate) seen: u8,
}

/// What an edit had seen of the authors whom it names; before format 8, of all others of its sequence.
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

/// The same of one of which it is kept what it has replaced (`befores.rs`).
#[derive(Archive, Serialize)]
pub(crate) struct LogWithBeforesRow<'a> {
    pub(crate) log: LogRow<'a>,
    #[rkyv(with = InlineAsBox)]
    pub(crate) befores: &'a [u8],
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

/// The same of one whose settings are others than they are without anybody's doing.
#[derive(Archive, Serialize)]
pub(crate) struct ApplicationWithSettingsRow<'a> {
    pub(crate) application: ApplicationRow<'a>,
    /// A number of [`Reuse`](crate::reuse::Reuse).
    pub(crate) reuse: u8,
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
impl Record for AuthorsRecord {
    const KIND: RecordKind = RecordKind::Authors;
}
impl Record for DamageSeenRecord {
    const KIND: RecordKind = RecordKind::DamageSeen;
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
impl Record for LinkedEditRow<'_> {
    const KIND: RecordKind = RecordKind::LinkedEdit;
}
impl Record for LinkedEditAfterOthersRow<'_> {
    const KIND: RecordKind = RecordKind::LinkedEditAfterOthers;
}
impl Record for PackRow<'_> {
    const KIND: RecordKind = RecordKind::Pack;
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
impl Record for LogWithBeforesRow<'_> {
    const KIND: RecordKind = RecordKind::LogWithBefores;
}
impl Record for EventRow<'_> {
    const KIND: RecordKind = RecordKind::Event;
}
impl Record for ApplicationRow<'_> {
    const KIND: RecordKind = RecordKind::Application;
}
impl Record for ApplicationWithSettingsRow<'_> {
    const KIND: RecordKind = RecordKind::ApplicationWithSettings;
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
