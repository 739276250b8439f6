//! A record of each kind, as it has always been.

use rkyv::Portable;
use rkyv::api::high::HighValidator;
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Failure;

use super::*;
use crate::delta::BIRTH_BYTES;
use crate::entry::EntryKind;
use crate::golden;
use crate::hlc::Hlc;
use crate::members::{AckRow, MembersRow};
use crate::quarantine::{AsideRow, QuarantineRow};
use crate::tally::{MarkRow, TallyRow};
use crate::version::Dot;

const KEY: &[u8] = b"key";

const SEEN: &[SeenRow] = &[
    SeenRow {
        author: 1,
        hlc: 0x0102_0304_0506_0708,
    },
    SeenRow { author: 7, hlc: 2 },
];

const DOT: Dot = Dot {
    author: 3,
    hlc: Hlc::from_bits(4096),
};

const EDIT: EditRow<'_> = EditRow {
    births: &[[5; 40], [6; 40]],
    update: b"update",
};

const APPLICATION: ApplicationRow<'_> = ApplicationRow {
    size_bytes: 1,
    installed: 2,
    name: "the name of it",
    version: "1.2.3",
    description: "{\"methods\":[]}",
};

/// The record under `KEY`, which this program reads.
fn sealed<R>(value: &R) -> Vec<u8>
where
    R: Record,
    R::Archived: Portable + for<'b> CheckBytes<HighValidator<'b, Failure>>,
{
    let mut out = Vec::new();
    seal(&mut out, KEY, value);
    open::<R>(KEY, &out).unwrap();
    out
}

/// A kind that is new does not compile until it has a record here.
fn record_of(kind: RecordKind) -> Vec<u8> {
    match kind {
        RecordKind::Format => sealed(&FormatRecord { version: 5 }),
        RecordKind::Slots => sealed(&SlotsRecord { next: 258 }),
        RecordKind::Context => sealed(&ContextRow {
            slot: 1,
            created: 2,
            application: [3; 32],
            name: Some("the name of it"),
        }),
        RecordKind::HeadOfFormat3 => sealed(&HeadRowOfFormat3 {
            context: [1; 32],
            root: [2; 32],
            version: 3,
            entries: 4,
            bytes: 5,
            hlc: 6,
            log_last: 7,
            events_last: 8,
            deltas: &[[9; 32], [10; 32]],
        }),
        RecordKind::Entry => sealed(&EntryRow::value(DOT, b"value")),
        RecordKind::Event => sealed(&EventRow {
            delta: [1; 32],
            hlc: 2,
            kind: "the kind of it",
            payload: b"payload",
        }),
        RecordKind::Application => sealed(&APPLICATION),
        RecordKind::ApplicationWithSettings => sealed(&ApplicationWithSettingsRow {
            application: APPLICATION,
            reuse: 1,
        }),
        RecordKind::Name => sealed(&NameRow { context: [1; 32] }),
        RecordKind::Author => sealed(&AuthorRow { node: [1; 32] }),
        RecordKind::GraveOfFormat3 => sealed(&GraveRowOfFormat3 {
            context: [1; 32],
            log_last: 2,
        }),
        RecordKind::Journal => sealed(&JournalRecord {
            generation: 1,
            seed: 2,
        }),
        RecordKind::Identity => sealed(&IdentityRecord {
            data: [1; 32],
            shard: 258,
        }),
        RecordKind::JournalFile => sealed(&JournalFileRecord { bytes: 4096 }),
        RecordKind::Head => sealed(&HeadRow {
            context: [1; 32],
            root: [2; 32],
            version: 3,
            entries: 4,
            replicated: 5,
            bytes: 6,
            hlc: 7,
            log_last: 8,
            log_pruned: 9,
            log_count: 10,
            events_first: 11,
            events_last: 12,
            is_shared: true,
            deltas: &[[13; 32], [14; 32]],
            seen: SEEN,
        }),
        RecordKind::Log => sealed(&LogRow {
            slot: 1,
            previous: 2,
            canonical: b"canonical bytes",
        }),
        RecordKind::LogWithBefores => sealed(&LogWithBeforesRow {
            log: LogRow {
                slot: 1,
                previous: 2,
                canonical: b"canonical bytes",
            },
            befores: b"what it has replaced",
        }),
        RecordKind::Dag => sealed(&DagRow {
            position: 1,
            author: 2,
            hlc: 3,
            seen: SEEN,
        }),
        RecordKind::Edit => sealed(&EDIT),
        RecordKind::Litter => sealed(&LitterRow {
            key: b"the key of it",
            after: b"an edit",
        }),
        RecordKind::Grave => sealed(&GraveRow {
            context: [1; 32],
            log_last: 2,
            log_pruned: 3,
        }),
        RecordKind::Trie => sealed(&TrieRow { node: b"a node" }),
        RecordKind::Counters => sealed(&CountersRecord {
            position: 1,
            hlc: 2,
        }),
        RecordKind::Attached => sealed(&AttachedRow {}),
        RecordKind::AttachedSum => sealed(&AttachedSumRow { blobs: 1, bytes: 2 }),
        RecordKind::Seal => sealed(&SealRow {
            delta: [1; 32],
            version: 2,
            seal: b"canonical bytes",
        }),
        RecordKind::Fork => sealed(&ForkRow {
            known: b"the known one",
            other: b"the other one",
        }),
        RecordKind::BacklogWithoutStamps => sealed(&BacklogRowWithoutStamps {
            position: 1,
            authors: &[2, 3],
        }),
        RecordKind::EditSeen => sealed(&EditSeenRow { seen: SEEN }),
        RecordKind::Saved => sealed(&SavedRow {
            births: &[[1; 40]],
            edits: 2,
            hlc: 3,
            author: 4,
            parts: 5,
            bytes: 6,
        }),
        RecordKind::SavedPart => sealed(&SavedPartRow {
            bytes: b"some of it",
        }),
        RecordKind::Answer => sealed(&AnswerRow {
            request: [1; 32],
            root: [2; 32],
            delta: Some([3; 32]),
            hlc: 4,
            fuel_used: 5,
            is_error: true,
            text: b"the answer",
        }),
        RecordKind::AnswerAge => sealed(&AnswerAgeRow { bytes: 1 }),
        RecordKind::AnswerTally => sealed(&AnswerTally { count: 1, bytes: 2 }),
        RecordKind::Tally => sealed(&TallyRow {
            log_bytes: 1,
            log_from: 2,
            events_bytes: 3,
            events_from: 4,
            span_deltas: 5,
            span_bytes: 6,
        }),
        RecordKind::Mark => sealed(&MarkRow { hlc: 1 }),
        RecordKind::Members => sealed(&MembersRow { pruned: SEEN }),
        RecordKind::Ack => sealed(&AckRow {
            since: 1,
            is_away: true,
            seen: SEEN,
        }),
        RecordKind::Quarantine => sealed(&QuarantineRow {
            context: [1; 32],
            aside: 2,
            why: "it is damaged",
        }),
        RecordKind::Aside => sealed(&AsideRow {
            canonical: b"canonical bytes",
            local: b"local bytes",
        }),
        RecordKind::Backlog => sealed(&BacklogRow {
            position: 1,
            seen: SEEN,
        }),
        RecordKind::Authors => sealed(&AuthorsRecord {
            next: 258,
            dropped: 3,
        }),
        RecordKind::DamageSeen => sealed(&DamageSeenRecord { digest: [1; 32] }),
        RecordKind::EditAfterOthers => sealed(&EditAfterOthersRow { edit: EDIT }),
        RecordKind::Pack => sealed(&PackRow {
            authors: &[3, 12],
            births: &[[4; BIRTH_BYTES], [5; BIRTH_BYTES]],
            bases: &[
                PackedBasisRow {
                    births: 0,
                    is_linked: false,
                },
                PackedBasisRow {
                    births: 2,
                    is_linked: true,
                },
            ],
            edits: &[
                PackedEditRow {
                    hlc: 0x0807_0605_0403_0201,
                    update_bytes: 3,
                    author: 1,
                    basis: 0,
                    seen: 0,
                },
                PackedEditRow {
                    hlc: 0x0807_0605_0403_0202,
                    update_bytes: 3,
                    author: 0,
                    basis: 1,
                    seen: 1,
                },
            ],
            seen: &[SeenRow { author: 12, hlc: 5 }],
            updates: b"updata",
        }),
        RecordKind::LinkedEdit => sealed(&LinkedEditRow { edit: EDIT }),
        RecordKind::LinkedEditAfterOthers => sealed(&LinkedEditAfterOthersRow { edit: EDIT }),
    }
}

#[test]
fn a_record_of_each_kind_is_what_it_always_was() {
    let kinds = RecordKind::ALL.iter().map(|kind| {
        let name = format!("{:02} {kind:?}", *kind as u8);
        (name, record_of(*kind))
    });
    // Forms of one kind that differ by what is in them.
    let without = [
        (
            "03 Context without a name",
            sealed(&ContextRow {
                slot: 1,
                created: 2,
                application: [3; 32],
                name: None,
            }),
        ),
        (
            "05 Entry of sections",
            sealed(&EntryRow::sections(b"sections")),
        ),
        (
            "46 Answer without a delta",
            sealed(&AnswerRow {
                request: [1; 32],
                root: [2; 32],
                delta: None,
                hlc: 4,
                fuel_used: 5,
                is_error: false,
                text: b"",
            }),
        ),
    ];
    let without = without.map(|(name, record)| (name.to_owned(), record));
    let forms: Vec<_> = kinds.chain(without).collect();
    for (name, record) in &forms {
        assert_eq!(&record[..2], [1, name[..2].parse().unwrap()], "{name}");
    }
    golden::check("records.txt", &forms);
}

/// An entry says by its kind whether it has one value; 64 stands for sections.
#[test]
fn no_kind_of_entry_is_taken_for_sections() {
    assert!(EntryKind::ALL.iter().all(|kind| kind.number() < 64));
}
