//! A row of each number, as it has always been.

use bytes::Bytes;

use super::*;
use crate::answer::{RequestDigest, Said};
use crate::delta::{BIRTH_BYTES, Reader};
use crate::export::frame::{ExportKind, FrameWriter};
use crate::golden;
use crate::reuse::Reuse;

const DOT: Dot = Dot {
    author: 3,
    hlc: Hlc::from_bits(0x0102_0304_0506_0708),
};

const SEQUENCE: &[u8; 17] = &[9; 17];

const NUMBERS: [u64; 10] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 258];

fn seen() -> Seen {
    let other = Dot { author: 7, ..DOT };
    vec![DOT, other]
}

fn application(reuse: Reuse) -> Row<'static> {
    Row::Application(ApplicationRecord {
        id: ApplicationId::from_bytes([1; 32]),
        name: "name".to_owned(),
        version: "version".to_owned(),
        size_bytes: 2,
        installed: DOT.hlc,
        description: "description".to_owned(),
        reuse,
    })
}

fn births(are_linked: bool) -> BirthsView<'static> {
    BirthsView::of(&[[4; BIRTH_BYTES], [5; BIRTH_BYTES]], are_linked).unwrap()
}

fn head(is_shared: bool, is_pruned: bool) -> Row<'static> {
    Row::Head(HeadFields {
        root: Root::from_bytes([1; 32]),
        version: 2,
        entries: 3,
        replicated: 4,
        bytes: 5,
        hlc: Hlc::from_bits(6),
        log_follows: 7,
        events_first: 8,
        events_last: 9,
        is_shared,
        is_pruned,
        deltas: vec![DeltaId::from_bytes([10; 32])],
        seen: seen(),
    })
}

fn answer(delta_id: Option<DeltaId>, said: Said) -> Row<'static> {
    Row::Answer {
        key: AnswerKey::from_bytes([1; 32]),
        answer: KeptAnswer {
            request: RequestDigest::from_bytes([2; 32]),
            hlc: Hlc::from_bits(3),
            fuel_used: 4,
            delta_id,
            root: Root::from_bytes([5; 32]),
            said,
        },
    }
}

/// How many of its rows a context has, by version of the format.
fn context_end(count: usize) -> Row<'static> {
    let mut numbers = [0; NUMBERS.len()];
    numbers[..count].copy_from_slice(&NUMBERS[..count]);
    Row::ContextEnd(Counts::from_array(numbers), Root::from_bytes([1; 32]))
}

fn backup_end(count: usize) -> Row<'static> {
    let mut numbers = [0; 6];
    numbers[..count].copy_from_slice(&NUMBERS[..count]);
    Row::BackupEnd(BackupCounts::from_array(numbers))
}

fn rows() -> Vec<(&'static str, Row<'static>)> {
    let (space, key) = (Space::Owned, &b"key"[..]);
    let why = "why it was left out";
    vec![
        (
            "01 author",
            Row::Author {
                number: 1,
                node: NodeId::from_bytes([2; 32]),
            },
        ),
        (
            "02 context",
            Row::Context {
                id: ContextId::from_bytes([1; 32]),
                application: ApplicationId::from_bytes([2; 32]),
                created: DOT.hlc,
                name: Some("name"),
            },
        ),
        (
            "02 context without a name",
            Row::Context {
                id: ContextId::from_bytes([1; 32]),
                application: ApplicationId::from_bytes([2; 32]),
                created: DOT.hlc,
                name: None,
            },
        ),
        ("03 head", head(false, false)),
        ("03 head of a shared context", head(true, false)),
        ("03 head of a context that was cut", head(false, true)),
        (
            "04 value",
            Row::Value {
                space,
                key,
                dot: DOT,
                bytes: b"value",
            },
        ),
        (
            "05 sections",
            Row::Sections {
                space,
                key,
                state: b"state",
            },
        ),
        (
            "06 edit",
            Row::Edit {
                space,
                sequence: SEQUENCE,
                dot: DOT,
                births: births(false),
                seen: seen(),
                update: b"update",
            },
        ),
        (
            "30 linked edit",
            Row::Edit {
                space,
                sequence: SEQUENCE,
                dot: DOT,
                births: births(true),
                seen: seen(),
                update: b"update",
            },
        ),
        (
            "07 removed edits",
            Row::Litter {
                space,
                sequence: SEQUENCE,
                key,
            },
        ),
        (
            "08 node of the trie",
            Row::TrieNode {
                nibbles: &[1, 15],
                node: b"node",
            },
        ),
        (
            "09 past",
            Row::Past {
                id: DeltaId::from_bytes([1; 32]),
                dot: DOT,
                seen: seen(),
            },
        ),
        (
            "10 delta",
            Row::Delta {
                canonical: b"canonical",
                past: None,
            },
        ),
        (
            "10 delta with its past",
            Row::Delta {
                canonical: b"canonical",
                past: Some((DOT, seen())),
            },
        ),
        (
            "11 event",
            Row::Event {
                sequence: 1,
                delta: DeltaId::from_bytes([2; 32]),
                hlc: DOT.hlc,
                kind: "kind",
                payload: b"payload",
            },
        ),
        (
            "13 seal",
            Row::Seal {
                delta: DeltaId::from_bytes([1; 32]),
                hlc: DOT.hlc,
                version: 2,
                seal: b"seal",
            },
        ),
        (
            "14 proof against an author",
            Row::Fork {
                known: b"known",
                other: b"other",
            },
        ),
        (
            "15 answer",
            answer(
                Some(DeltaId::from_bytes([6; 32])),
                Said::Output(Bytes::from_static(b"output")),
            ),
        ),
        (
            "15 answer that is an error",
            answer(None, Said::Error(Bytes::from_static(b"error"))),
        ),
        ("16 members", Row::Members { pruned: seen() }),
        (
            "17 member",
            Row::Member {
                node: NodeId::from_bytes([1; 32]),
                since: DOT.hlc,
                is_away: true,
                seen: seen(),
            },
        ),
        ("18 end of a context", context_end(NUMBERS.len())),
        (
            "20 node",
            Row::Node {
                id: NodeId::from_bytes([1; 32]),
                shards: 258,
            },
        ),
        ("21 application", application(Reuse::Context)),
        (
            "40 application whose instances serve one call",
            application(Reuse::Never),
        ),
        (
            "22 part of a component",
            Row::FilePart {
                kind: FileKind::Component,
                id: [1; 32],
                bytes: b"bytes",
            },
        ),
        (
            "22 part of a blob",
            Row::FilePart {
                kind: FileKind::Blob,
                id: [1; 32],
                bytes: b"bytes",
            },
        ),
        (
            "23 name",
            Row::Name {
                name: "name",
                context: ContextId::from_bytes([1; 32]),
            },
        ),
        (
            "24 key file",
            Row::Key {
                name: "name",
                bytes: b"bytes",
            },
        ),
        (
            "26 context that was left out",
            Row::LeftOut {
                id: ContextId::from_bytes([1; 32]),
                why,
            },
        ),
        ("27 end of a backup", backup_end(BackupCounts::WITH_BLOBS)),
        (
            "28 blob that was left out",
            Row::BlobLeftOut {
                id: BlobId::from_bytes([1; 32]),
                why,
            },
        ),
        ("29 end of a backup that lacks blobs", backup_end(6)),
    ]
}

/// The rows that no program writes any more, put together by hand.
fn rows_of_version_1() -> [(&'static str, Vec<u8>, Row<'static>); 2] {
    let numbers = |count: usize| NUMBERS[..count].iter().flat_map(|n| n.to_le_bytes());
    let context: Vec<u8> = [12].into_iter().chain(numbers(6)).chain([1; 32]).collect();
    let backup = [25].into_iter().chain(numbers(4)).collect();
    [
        ("12 end of a context in version 1", context, context_end(6)),
        ("25 end of a backup in version 1", backup, backup_end(4)),
    ]
}

#[test]
fn a_row_of_each_number_is_what_it_always_was() {
    let written = rows().into_iter().map(|(name, row)| {
        let mut bytes = Vec::new();
        row.write(&mut bytes);
        (name, bytes, row)
    });
    let all: Vec<_> = written.chain(rows_of_version_1()).collect();
    for (name, bytes, row) in &all {
        let mut rest = Reader(bytes);
        assert_eq!(read(&mut rest).as_ref(), Ok(row), "{name}");
        rest.end().unwrap();
        assert_eq!(bytes[0], name[..2].parse().unwrap(), "{name}");
    }
    let unknown = read(&mut Reader(&[0])).unwrap_err();
    let known = golden::known(|number| read(&mut Reader(&[number])) != Err(unknown));
    let mut numbers: Vec<u8> = all.iter().map(|(_, bytes, _)| bytes[0]).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, known, "a row that is read has no kept form");
    let forms: Vec<_> = all
        .into_iter()
        .map(|(name, bytes, _)| (name.to_owned(), bytes))
        .collect();
    golden::check("rows.txt", &forms);
}

#[test]
fn a_copy_is_framed_as_it_always_was() {
    let framed = |kind| {
        let mut frame = FrameWriter::begin(Vec::new(), kind).unwrap();
        frame.rows(b"some rows").unwrap();
        frame.rows(b"others").unwrap();
        (format!("{kind:?}"), frame.end().unwrap())
    };
    let forms = [ExportKind::Context, ExportKind::Backup].map(framed);
    golden::check("frames.txt", &forms);
}
