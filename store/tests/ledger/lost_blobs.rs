//! Blobs that contexts have attached and that are not there, or damaged: a backup goes on
//! without them and names them, and a check tells of them.

use std::io::Cursor;

use bytes::Bytes;
use corelet_store::{
    Arrival, Attachment, BLOB_GROUP_BYTES, BackupCounts, BackupSource, BlobId, BlobLimit, Blobs,
    ContextSlot, Hlc, LedgerConfig, NodeId, Op, RestoreOptions, Space, Write, check, read_copy,
    restore, write_backup,
};

use crate::damage::flip;
use crate::{Bench, id};

/// A context that has attached these contents, of which the first `stored` are there.
fn with_attached(contents: &[Vec<u8>], stored: usize) -> (Bench, Blobs, Vec<Attachment>) {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let blobs = Blobs::open(bench._dir.path().join("blobs")).unwrap();
    let mut attachments = Vec::new();
    for (number, content) in contents.iter().enumerate() {
        if number < stored {
            let mut writer = blobs.writer(None, BlobLimit::FORMAT).unwrap();
            writer.write(content).unwrap();
            drop(writer.finish().unwrap());
        }
        let attachment = Attachment {
            blob: BlobId::of(content),
            bytes: content.len() as u64,
        };
        attach(&mut bench, slot, attachment);
        attachments.push(attachment);
    }
    bench.ledger().writer().checkpoint().unwrap();
    (bench, blobs, attachments)
}

fn attach(bench: &mut Bench, slot: ContextSlot, attachment: Attachment) {
    let op = Op {
        space: Space::Attached,
        key: Bytes::copy_from_slice(&attachment.key()),
        removes_first: false,
        write: Write::Insert,
    };
    let call = bench.call(1, slot, vec![op]);
    bench.commit(vec![call]);
}

fn slot_of(bench: &Bench) -> ContextSlot {
    let snapshot = bench.ledger().snapshot().unwrap();
    snapshot.context(&id(1)).unwrap().unwrap().slot
}

fn backed_up(bench: &Bench, blobs: &Blobs) -> (Vec<u8>, BackupCounts) {
    let snapshots = [bench.ledger().snapshot().unwrap()];
    let source = BackupSource {
        node: NodeId::from_bytes([4; 32]),
        snapshots: &snapshots,
        component: &|_| unreachable!("no application is installed"),
        blobs: Some(blobs),
    };
    let mut backup = Vec::new();
    let counts = write_backup(&source, &mut backup, &mut |_| {}).unwrap();
    (backup, counts)
}

fn contents() -> Vec<Vec<u8>> {
    let long = |n: u8| {
        [
            vec![n; BLOB_GROUP_BYTES],
            vec![n + 1; BLOB_GROUP_BYTES],
            vec![9],
        ]
        .concat()
    };
    vec![long(1), vec![], long(5), b"lost".to_vec()]
}

/// Of four blobs one is damaged in the middle and one is not there; of the first, what is
/// noted of its attachment is lost as well.
#[test]
fn a_backup_names_the_attached_blobs_that_it_lacks_and_has_the_others() {
    let (mut bench, blobs, attachments) = with_attached(&contents(), 3);
    let slot = slot_of(&bench);
    bench.close();
    let [first, _, damaged, lost] = attachments[..] else {
        panic!("there are four")
    };
    let slot = slot.number().to_be_bytes();
    let row = [first.blob.as_bytes(), &slot[..], &first.bytes.to_be_bytes()].concat();
    flip(&bench, &row, 31);
    let name = damaged.blob.to_string();
    let file = bench
        ._dir
        .path()
        .join("blobs")
        .join(name_of_fan(damaged.blob))
        .join(name);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[BLOB_GROUP_BYTES + 7] ^= 1;
    std::fs::write(&file, bytes).unwrap();

    bench.reopen();
    let (backup, counts) = backed_up(&bench, &blobs);
    // The one that the damaged row names is attached by nobody, and told all the same.
    assert_eq!((counts.files, counts.blobs_left_out), (2, 3));
    let told = read_copy(&backup[..]).unwrap().blobs_left_out;
    let why = |blob: BlobId| {
        let found = told.iter().find(|(id, _)| *id == blob);
        found
            .unwrap_or_else(|| panic!("{blob} is not told"))
            .1
            .clone()
    };
    assert!(why(lost.blob).contains("not on this node"));
    assert!(why(damaged.blob).contains("hash"), "{}", why(damaged.blob));

    let target = tempfile::tempdir().unwrap();
    let target = target.path().join("restored");
    let options = RestoreOptions {
        shards: None,
        component: &|_| unreachable!("no application is installed"),
        ledger: LedgerConfig::default(),
        arrival: Arrival::trusting(Hlc::ZERO),
    };
    let restored = restore(Cursor::new(backup.clone()), &target, &options, &mut |_| {}).unwrap();
    assert_eq!(restored.counts, counts);
    assert_eq!(restored.blobs_left_out, told);
    let report = check(&target, &mut |_| {}).unwrap();
    assert!(report.is_whole(), "{:?}", report.findings);
    assert_eq!((report.blobs, report.blobs_missing), (2, 2));
    for blob in [damaged.blob, lost.blob] {
        let is_told = |note: &String| note.contains(&blob.to_string());
        assert!(report.notes.iter().any(is_told), "{:?}", report.notes);
    }
}

/// Its name is there, and it cannot be opened: the same as a disk that gives an error for it.
#[test]
fn a_blob_that_cannot_be_read_is_named_and_ends_no_backup() {
    let (bench, blobs, attachments) = with_attached(&contents(), 4);
    let blob = attachments[0].blob;
    let dir = bench._dir.path().join("blobs").join(name_of_fan(blob));
    let file = dir.join(blob.to_string());
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(&file, &file).unwrap();
    let (backup, counts) = backed_up(&bench, &blobs);
    assert_eq!((counts.files, counts.blobs_left_out), (3, 1));
    let told = read_copy(&backup[..]).unwrap().blobs_left_out;
    assert_eq!(told[0].0, blob);
    assert!(told[0].1.contains("cannot open"), "{}", told[0].1);
}

fn name_of_fan(blob: BlobId) -> String {
    format!("{:02x}", blob.as_bytes()[0])
}

/// What another node has attached may come later, so it is no damage.
#[test]
fn a_check_tells_of_attached_blobs_that_are_not_here_or_of_another_length() {
    let (mut bench, blobs, attachments) = with_attached(&contents(), 4);
    let other = Attachment {
        bytes: 77,
        blob: BlobId::of(b"another length"),
    };
    let mut writer = blobs.writer(None, BlobLimit::FORMAT).unwrap();
    writer.write(b"another length").unwrap();
    drop(writer.finish().unwrap());
    let slot = slot_of(&bench);
    attach(&mut bench, slot, other);
    bench.ledger().writer().checkpoint().unwrap();
    let lost = attachments[0].blob;
    std::fs::remove_file(
        bench
            ._dir
            .path()
            .join("blobs")
            .join(name_of_fan(lost))
            .join(lost.to_string()),
    )
    .unwrap();
    drop(blobs);
    bench.close();
    let report = check(bench._dir.path(), &mut |_| {}).unwrap();
    assert!(report.is_whole(), "{:?}", report.findings);
    assert_eq!((report.blobs, report.blobs_missing), (4, 1));
    let [first, second] = &report.notes[..] else {
        panic!("{:?}", report.notes)
    };
    let mut notes = [first, second];
    notes.sort_by_key(|note| note.contains("77"));
    assert!(notes[0].contains(&format!("{lost} of {} bytes", 2 * BLOB_GROUP_BYTES + 1)));
    assert!(notes[1].contains("has 14 bytes, and was attached as one of 77"));
}
