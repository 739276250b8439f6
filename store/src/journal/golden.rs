//! The file of a journal, and what it has of calls beside their deltas, as they have always
//! been.

use bytes::Bytes;

use super::*;
use crate::answer::{AnswerKey, KeyedAnswer, RequestDigest, Said};
use crate::change::{CallEffects, Op};
use crate::entry::Space;
use crate::golden;
use crate::hlc::Hlc;
use crate::ids::{ContextId, DataId, DeltaId, NodeId, Root, ShardId};
use crate::local::{self, Local};
use crate::place::LedgerIdentity;
use crate::seal::make_seals;
use crate::seal::tests::Key;

#[test]
fn a_journal_is_what_it_always_was() {
    let dir = tempfile::tempdir().unwrap();
    let identity = LedgerIdentity {
        data: DataId::from_bytes([5; 32]),
        shard: ShardId::as_written(258),
    };
    let place = LedgerPlace::new(dir.path().to_owned(), identity);
    let first = Generation {
        number: 3,
        seed: 77,
    };
    let noted = Journal::make(&place, first.seed).unwrap();
    let mut journal = Journal::open(&place, 64 << 10, noted, first).unwrap();
    journal.bytes_noted = journal.take_space().unwrap();
    let next = Generation { number: 4, ..first };
    journal.restart(next, journal.bytes_noted).unwrap();
    for _ in 0..2 {
        journal.begin();
        for local in [&b""[..], b"local"] {
            journal.add(&JournaledCall {
                slot: ContextSlot::new(258),
                canonical: b"canonical",
                local,
            });
        }
        journal.append().unwrap();
    }
    let file = std::fs::read(place.journal()).unwrap();
    // In front of each page; what follows there is nothing.
    let (pages, _) = file.as_chunks::<{ ALIGN_BYTES as usize }>();
    let names = [
        "front",
        "mark",
        "batch 0 with a sieve",
        "batch 1 with a sieve",
    ];
    let forms = names.iter().zip(pages).map(|(name, page)| {
        let bytes = page.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        ((*name).to_owned(), page[..bytes].to_vec())
    });
    let mut forms: Vec<_> = forms.collect();
    assert!(pages[names.len()].iter().all(|byte| *byte == 0));

    // No program writes it any more; what one has written is read.
    let mut written = Vec::new();
    let mut replayed = |journal: &Journal| {
        written.clear();
        let visit = |call: JournaledCall<'_>| {
            written.push((call.slot, call.canonical.to_vec(), call.local.to_vec()));
            Ok(())
        };
        assert_eq!(journal.replay(visit).unwrap(), 4);
        written.clone()
    };
    let calls = replayed(&journal);
    for number in 0..2 {
        let (_, record) = &forms[2 + number as usize];
        let payload = &record[HEADER_BYTES..];
        let old = [&Header::of_format_6(next, number, payload), payload].concat();
        let mut page = old.clone();
        page.resize(ALIGN_BYTES as usize, 0);
        let at = front::RECORDS_AT + number * ALIGN_BYTES;
        journal.file.write_all_at(&page, at).unwrap();
        forms.push((format!("batch {number}"), old));
    }
    let mut reopened = Journal::open(&place, 64 << 10, journal.bytes_noted, next).unwrap();
    reopened.recover(Path::new("data.mdb")).unwrap();
    assert_eq!(replayed(&reopened), calls);
    golden::check("journal.txt", &forms);
}

fn call(said: Option<Said>, has_private: bool) -> Vec<u8> {
    let answer = said.map(|said| {
        Box::new(KeyedAnswer {
            key: AnswerKey::from_bytes([1; 32]),
            request: RequestDigest::from_bytes([2; 32]),
            fuel_used: 3,
            said,
        })
    });
    let private = Op {
        space: Space::Private,
        ..Op::set("key".into(), "value".into())
    };
    let author = NodeId::from_bytes([5; 32]);
    let hlc = Hlc::from_bits(6);
    let call = CallEffects {
        ops: has_private.then_some(private).into_iter().collect(),
        answer,
        ..CallEffects::new(ContextId::from_bytes([4; 32]), author, hlc)
    };
    let mut out = Vec::new();
    local::write_call(&mut out, &call, hlc);
    out
}

#[test]
fn what_is_local_to_a_node_is_what_it_always_was() {
    let mut remote = Vec::new();
    local::write_remote(&mut remote, Root::from_bytes([1; 32]));
    let delta = DeltaId::from_bytes([2; 32]);
    let seals = make_seals(&Key::new(7), &[(ContextId::from_bytes([1; 32]), delta)]);
    let mut seal = Vec::new();
    local::write_seal(&mut seal, &delta, &seals[0]);
    let output = Said::Output(Bytes::from_static(b"output"));
    let error = Said::Error(Bytes::from_static(b"error"));
    let forms = [
        // No program writes it any more.
        ("1 another node's delta in format 4", vec![1]),
        ("2 private writes", call(None, true)),
        ("3 answer", call(Some(output), false)),
        ("3 answer that is an error", call(Some(error), true)),
        ("9 another node's delta", remote),
        ("10 seal", seal),
    ];
    for (name, bytes) in &forms {
        assert!(
            !matches!(local::read(bytes).unwrap(), Local::Call),
            "{name}"
        );
        assert!(name.starts_with(&format!("{} ", bytes[0])), "{name}");
    }
    let unknown = local::read(&[0]).err().unwrap();
    let known = golden::known(|number| local::read(&[number]).err() != Some(unknown));
    let mut numbers: Vec<u8> = forms.iter().map(|(_, bytes)| bytes[0]).collect();
    numbers.dedup();
    assert_eq!(numbers, known, "what is read has no kept form");
    let forms = forms.map(|(name, bytes)| (name.to_owned(), bytes));
    golden::check("local.txt", &forms);
}
