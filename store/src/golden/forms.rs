//! What lies inside of records, goes to other nodes or is a file of its own, as it has always
//! been: deltas, lists and texts, seals, blobs and the manifest. Records, rows of copies, journals,
//! states of entries, nodes of tries and uploads are held against theirs beside them.

use bytes::Bytes;

use super::{check, known};
use crate::blobs::{BLOB_GROUP_BYTES, BlobLimit, Blobs};
use crate::change::{Birth, Births, Event};
use crate::delta::{
    BirthsView, DeltaView, DeltaWriter, OpView, Reader, WriteView, write_op, write_op_count,
};
use crate::entry::{EntryKind, Space};
use crate::hlc::Hlc;
use crate::ids::{BlobId, ContextId, DataId, DeltaId, NodeId, Root, ShardCount};
use crate::manifest::{Found, Manifest};
use crate::seal::tests::{Key, delta};
use crate::seal::{Branch, make_seals};
use crate::sequence::{Content, Sequence, SequenceKind};

const STAMP: Hlc = Hlc::from_bits(0x0102_0304_0506_0708);

fn named<const N: usize>(forms: [(&str, Vec<u8>); N]) -> [(String, Vec<u8>); N] {
    forms.map(|(name, bytes)| (name.to_owned(), bytes))
}

fn births() -> Births {
    let birth = |n| Birth {
        author: NodeId::from_bytes([n; 32]),
        hlc: STAMP,
    };
    [birth(1), birth(2)].into_iter().collect()
}

#[test]
fn a_delta_is_what_it_always_was() {
    let births = births();
    let edit = |kind, are_linked| WriteView::Edit {
        kind,
        births: BirthsView::of(births.rows(), are_linked).unwrap(),
        seen: match are_linked {
            true => &[[1; 8], [2; 8]],
            false => &[],
        },
        update: b"update",
    };
    let add = |is_new_cell| WriteView::Add {
        amount: -258,
        is_new_cell,
    };
    let writes = [
        ("1 set", WriteView::Set(b"value")),
        ("2 add", add(false)),
        ("3 add in a new cell", add(true)),
        ("4 insert", WriteView::Insert),
        ("5 write once", WriteView::WriteOnce(b"value")),
        ("6 edit of a list", edit(EntryKind::List, false)),
        ("7 edit of a text", edit(EntryKind::Text, false)),
        ("8 remove", WriteView::Remove),
        ("9 linked edit of a list", edit(EntryKind::List, true)),
        ("10 linked edit of a text", edit(EntryKind::Text, true)),
    ];
    let mut forms = Vec::new();
    let mut ops = Vec::new();
    for (number, (name, write)) in (1..).zip(writes) {
        let op = |removes_first| OpView {
            space: Space::Shared,
            key: b"key",
            removes_first,
            write,
        };
        let mut out = Vec::new();
        write_op(&mut out, &op(false));
        assert_eq!(out[0], number, "{name}");
        ops.push(OpView {
            key: name.as_bytes(),
            ..op(false)
        });
        forms.push((name.to_owned(), out.clone()));
        if !matches!(write, WriteView::Remove) {
            out.clear();
            write_op(&mut out, &op(true));
            forms.push((format!("{name}, and removes first"), out));
        }
    }
    // With an empty key in the first space, and nothing behind it.
    let error_of = |deed| {
        let bytes = [deed, Space::Shared.number(), 0, 0];
        Reader(&bytes).op().err()
    };
    let unknown = error_of(0);
    let known = known(|deed| deed < 128 && error_of(deed) != unknown);
    assert_eq!(
        known,
        (1..=10).collect::<Vec<u8>>(),
        "an op has no kept form"
    );

    // Those that came later are in a delta of their own.
    let mut since = ops.split_off(8);
    since.sort_by_key(|op| op.key);
    let parents = [8, 9].map(|n| DeltaId::from_bytes([n; 32]));
    let (context, author) = (ContextId::from_bytes([1; 32]), NodeId::from_bytes([2; 32]));
    for (name, ops) in [("delta", ops), ("delta with linked edits", since)] {
        let mut out = Vec::new();
        let mut writer = DeltaWriter::begin(&mut out, context, author, STAMP, &parents);
        write_op_count(writer.out(), ops.len());
        for op in &ops {
            write_op(writer.out(), op);
        }
        writer.events(&[Event {
            kind: "kind".to_owned(),
            payload: Bytes::from_static(b"payload"),
        }]);
        let id = writer.finish(Root::from_bytes([3; 32]));
        assert!(DeltaView::parse(&out).unwrap().ops().eq(ops));
        forms.push((name.to_owned(), out));
        forms.push((format!("id of the {name}"), id.as_bytes().to_vec()));
    }
    check("deltas.txt", &forms);
}

/// Two authors: the second names the first, on either side of whose elements it puts its own.
#[test]
fn a_sequence_of_each_kind_is_what_it_always_was() {
    let content = |kind, text: &str| match kind {
        SequenceKind::List => Content::Values(text.bytes().map(|byte| Box::from([byte])).collect()),
        SequenceKind::Text => Content::Text(text.to_owned()),
    };
    let [first, second] = [1, 2].map(|n| NodeId::from_bytes([n; 32]));
    let mut forms = Vec::new();
    for kind in [SequenceKind::List, SequenceKind::Text] {
        let mut here = Sequence::new(kind, first);
        here.insert(0, content(kind, "hello")).unwrap();
        here.insert(0, content(kind, "oh ")).unwrap();
        let begun = here.take_update(Hlc::from_bits(1)).unwrap().unwrap();
        let mut there = Sequence::new(kind, second);
        there
            .apply(first, Hlc::from_bits(1), |_| Hlc::ZERO, &begun)
            .unwrap();
        there.insert(8, content(kind, " world")).unwrap();
        there.insert(5, content(kind, "--")).unwrap();
        there.delete(1, 3).unwrap();
        let gone_on = there.take_update(Hlc::from_bits(2)).unwrap().unwrap();
        forms.push((format!("{kind:?} begun"), begun));
        forms.push((format!("{kind:?} gone on"), gone_on));
        forms.push((format!("{kind:?} saved"), there.save().unwrap()));
    }
    check("sequences.txt", &forms);
}

#[test]
fn a_seal_and_a_branch_are_what_they_always_were() {
    let context = ContextId::from_bytes([1; 32]);
    let key = Key::new(7);
    let (low_id, low) = delta(context, &key, 1, &[]);
    let (high_id, high) = delta(context, &key, 2, &[low_id]);
    let others = [2, 3].map(|n| (ContextId::from_bytes([n; 32]), DeltaId::from_bytes([n; 32])));
    let newest = [(context, high_id), others[0], others[1]];
    let seals = make_seals(&key, &newest).into_iter();
    let mut forms: Vec<_> = (1..)
        .zip(seals)
        .map(|(n, seal)| (format!("seal {n} of 3"), seal.to_bytes()))
        .collect();
    let branch = Branch::check(vec![low, high], key.seal(context, high_id)).unwrap();
    let bytes = branch.to_bytes();
    Branch::read(&bytes).unwrap();
    forms.push(("branch".to_owned(), bytes));
    check("seals.txt", &forms);
}

/// The whole file of a short content, and the hash of that of longer ones.
#[test]
fn the_file_of_a_blob_is_what_it_always_was() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path().join("blobs")).unwrap();
    let file_of = |content: &[u8]| {
        let mut writer = blobs.writer(None, BlobLimit::FORMAT).unwrap();
        writer.write(content).unwrap();
        drop(writer.finish().unwrap());
        let id = BlobId::of(content);
        let fan = format!("{:02x}", id.as_bytes()[0]);
        std::fs::read(dir.path().join("blobs").join(fan).join(id.to_string())).unwrap()
    };
    let hash = |bytes: &[u8]| blake3::hash(bytes).as_bytes().to_vec();
    let groups = |bytes: usize| -> Vec<u8> { (0..bytes).map(|n| (n / 1000) as u8).collect() };
    let forms = named([
        ("nothing", file_of(b"")),
        ("short", file_of(b"content")),
        ("one group", hash(&file_of(&groups(BLOB_GROUP_BYTES)))),
        ("a byte more", hash(&file_of(&groups(BLOB_GROUP_BYTES + 1)))),
        ("five groups", hash(&file_of(&groups(5 * BLOB_GROUP_BYTES)))),
    ]);
    check("blobs.txt", &forms);
}

#[test]
fn a_manifest_is_what_it_always_was() {
    let shards = ShardCount::new(3).unwrap();
    let node_id = NodeId::from_bytes([9; 32]);
    let manifest = |are_ledgers_made| Manifest {
        data_id: DataId::from_bytes([5; 32]),
        are_ledgers_made,
        ..Manifest::new(shards, node_id)
    };
    let before = Found::Before { shards, node_id };
    let forms = named([
        ("1", before.to_text().into_bytes()),
        (
            "2 while ledgers are made",
            manifest(false).to_text().into_bytes(),
        ),
        ("2", manifest(true).to_text().into_bytes()),
    ]);
    check("manifest.txt", &forms);
}
