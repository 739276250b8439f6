//! The space of stable memories: what may be written there, and what becomes of it when several
//! nodes write.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::ops::ControlFlow;

use bytes::Bytes;
use corelet_store::{
    Arrival, Change, ContextSlot, DeltaView, EntryValue, ExportScope, Hlc, Op, Refused,
    RemoteDelta, Root, STABLE_BLOCK_BYTES, Scan, Sealer, Space, StableKey, Write, import_context,
    verify,
};

use crate::copies::{export, other};
use crate::signed::{Key, Lie, LiedWrite, forge, vouched};
use crate::{Bench, id, set};

fn block(number: u32) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// The memory reaches to the end of this block.
fn end(number: u32) -> Vec<u8> {
    [&number.to_be_bytes()[..], &[0]].concat()
}

fn stable(key: Vec<u8>, value: &[u8]) -> Op {
    Op {
        space: Space::Stable,
        ..set(key, value)
    }
}

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// All entries of the space.
fn content(bench: &Bench, slot: ContextSlot) -> Content {
    let snapshot = bench.ledger().snapshot().unwrap();
    let mut content = Content::new();
    let scan = Scan {
        space: Space::Stable,
        limit: usize::MAX,
        ..Scan::default()
    };
    let visit = &mut |entry: corelet_store::ScannedEntry<'_>| {
        let EntryValue::Register(value) = entry.value()? else {
            panic!("{:?} is no register", entry.key());
        };
        content.insert(entry.key().to_vec(), value.to_vec());
        Ok(ControlFlow::Continue(()))
    };
    snapshot.scan(slot, scan, visit).unwrap();
    content
}

fn root(bench: &Bench, slot: ContextSlot) -> Root {
    bench.ledger().snapshot().unwrap().head(slot).unwrap().root
}

#[test]
fn a_stable_memory_has_blocks_and_ends_and_nothing_else() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let full = [7; STABLE_BLOCK_BYTES];
    let long = [7; STABLE_BLOCK_BYTES + 1];
    let put = |key, write| Op {
        write,
        ..stable(key, b"")
    };
    for refused in [
        stable(block(1), &long),
        stable(end(1), b"x"),
        stable(b"key".to_vec(), b""),
        stable([end(1), end(1)].concat(), b""),
        put(block(1), Write::Insert),
        put(block(1), Write::Add(1)),
        put(block(1), Write::WriteOnce(Bytes::new())),
    ] {
        let call = bench.call(1, slot, vec![refused.clone()]);
        let verdict = bench.ledger().commit(vec![call]).unwrap().remove(0);
        let is_refused = matches!(
            verdict,
            Err(Refused::NotInSpace {
                space: Space::Stable
            })
        );
        assert!(is_refused, "{refused:?}");
    }
    let empty = root(&bench, slot);
    let ops = vec![
        stable(block(0), b"a"),
        stable(block(9), &full),
        stable(end(9), b""),
    ];
    let call = bench.call(1, slot, ops);
    let written = bench.commit(vec![call]).remove(0);
    assert!(written.delta_id().is_some() && written.root() != empty);
    let expected = Content::from([
        (block(0), b"a".to_vec()),
        (block(9), full.to_vec()),
        (end(9), vec![]),
    ]);
    // What only the journal has is brought in again.
    for _ in 0..2 {
        assert_eq!(content(&bench, slot), expected);
        bench.verify();
        bench.reopen();
    }
    let ops = [block(0), block(9), end(9)].map(|key| put(key, Write::Remove));
    let call = bench.call(1, slot, ops.to_vec());
    assert_eq!(bench.commit(vec![call]).remove(0).root(), empty);
}

/// A delta that somebody else has made of one write.
fn theirs(slot: ContextSlot, who: usize, stamp: u64, key: &[u8], write: LiedWrite) -> Change {
    let lie = Lie {
        space: Space::Stable,
        key: key.to_vec(),
        removes_first: false,
        write,
    };
    let lies = BTreeMap::from([((5, key.to_vec()), lie)]);
    let author = Key::new(who).node_id();
    let forged = forge(id(1), author, stamp << 12, &[], &lies, [0; 32]);
    let delta = vouched(&forged);
    Change::Delta(RemoteDelta { slot, delta })
}

/// In whatever order the two come: of a block the later writer's bytes are read, other blocks are not
/// touched, and the memory is as long as the longer one.
#[test]
fn two_nodes_that_write_at_once_come_to_the_same_bytes_and_length() {
    let mut found = Vec::new();
    for is_turned in [false, true] {
        let mut bench = Bench::new();
        let slot = bench.create(1);
        bench.commit(vec![Change::ShareContext(id(1))]);
        let set = |value: &[u8]| LiedWrite::Set(value.to_vec());
        let mut deltas = vec![
            theirs(slot, 3, 5000, &block(2), set(b"earlier")),
            theirs(slot, 4, 5001, &block(2), set(b"later")),
            theirs(slot, 5, 5002, &block(3), set(b"beside")),
            theirs(slot, 6, 5003, &end(1279), set(b"")),
            theirs(slot, 7, 5004, &end(639), set(b"")),
        ];
        if is_turned {
            deltas.reverse();
        }
        for delta in deltas {
            bench.commit(vec![delta]);
        }
        let content = content(&bench, slot);
        assert_eq!(content[&block(2)], b"later");
        assert_eq!(content[&block(3)], b"beside");
        let (last, _) = content.last_key_value().unwrap();
        assert_eq!(StableKey::from_key(last), Some(StableKey::End(1279)));
        bench.verify();
        found.push((content, root(&bench, slot)));
    }
    assert_eq!(found[0], found[1]);
}

#[test]
fn a_delta_that_writes_what_is_no_part_of_a_stable_memory_is_malformed() {
    let author = Key::new(3).node_id();
    let forged = |key: &[u8], value: &[u8]| {
        let lie = Lie {
            space: Space::Shared,
            key: key.to_vec(),
            removes_first: false,
            write: LiedWrite::Set(value.to_vec()),
        };
        let lies = BTreeMap::from([((0, key.to_vec()), lie)]);
        let mut delta = forge(id(1), author, 5 << 12, &[], &lies, [0; 32]).to_vec();
        // In front of the key are its space and its length.
        let at = delta.windows(key.len()).position(|at| at == key).unwrap() - 3;
        assert_eq!(delta[at], 0);
        delta[at] = 5;
        DeltaView::parse(&delta)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    let key = *b"\x01key";
    forged(&key, &[1; STABLE_BLOCK_BYTES]).unwrap();
    for (key, value) in [
        (&key[..], &[1; STABLE_BLOCK_BYTES + 1][..]),
        (b"\x01key\x00", b"1"),
        (b"\x01key\x01", b""),
        (b"\x01ke", b""),
    ] {
        let error = forged(key, value).unwrap_err();
        assert!(error.contains("no part of a stable memory"), "{error}");
    }
}

/// As other replicated state does, with the past of it.
#[test]
fn a_stable_memory_goes_along_in_an_export_and_is_read_as_it_was() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let call = bench.call(
        1,
        slot,
        vec![stable(block(5), b"before"), stable(end(63), b"")],
    );
    let first = bench.commit(vec![call]).remove(0).delta_id().unwrap();
    let call = bench.call(1, slot, vec![stable(block(5), b"after")]);
    bench.commit(vec![call]);
    let scope = ExportScope {
        private: false,
        log: true,
    };
    let file = export(bench.ledger(), id(1), scope);
    let target = other();
    let arrival = Arrival::trusting(Hlc::ZERO);
    import_context(target.ledger(), Cursor::new(file), arrival).unwrap();
    let snapshot = target.ledger().snapshot().unwrap();
    let there = snapshot.slot_of(&id(1)).unwrap().unwrap();
    assert_eq!(content(&target, there), content(&bench, slot));
    assert_eq!(root(&target, there), root(&bench, slot));
    verify(&snapshot).unwrap();
    let snapshot = bench.ledger().snapshot().unwrap();
    let past = snapshot.at(slot, &first).unwrap();
    let then = past.get(Space::Stable, &block(5)).unwrap();
    assert_eq!(then, Some(EntryValue::Register(b"before")));
}
