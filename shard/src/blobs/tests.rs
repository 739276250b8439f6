//! The service on a ledger of its own, with a thread in the place of the commit thread:
//! what is referred to stays, and what is dropped in the middle leaves nothing.

use std::fs;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use corelet_store::{Attachment, Change, ContextSlot, StoreError};
use futures_lite::future::{block_on, poll_once};

use super::*;
use crate::asks::{Ask, asks};
use crate::fixture::{self, Disk};

struct Bench {
    disk: Disk,
    dir: tempfile::TempDir,
    slot: ContextSlot,
    service: BlobService,
    threads: Option<BlobThreads>,
    /// The disk is full for whoever asks for a snapshot.
    is_full: Arc<AtomicBool>,
}

impl Bench {
    fn new(bounds: BlobBounds) -> Bench {
        let disk = Disk::new();
        let slot = disk.create(1);
        let dir = tempfile::tempdir().unwrap();
        let (ask, asks) = asks();
        let ledger = disk.ledger.clone();
        let is_full = Arc::new(AtomicBool::new(false));
        let full = Arc::clone(&is_full);
        let commits = std::thread::Builder::new().name("commits".to_owned());
        let answer = move || {
            for ask in asks {
                if let Ask::Snapshot(answer) = ask {
                    let _ = answer.send(match full.load(Relaxed) {
                        true => Err(StoreError::DiskFull {
                            source: io::ErrorKind::StorageFull.into(),
                        }),
                        false => ledger.snapshot(),
                    });
                }
            }
        };
        commits.spawn(answer).unwrap();
        let count = corelet_store::ShardCount::new(1).unwrap();
        let commit_threads = CommitThreads::new(count, vec![ask]);
        let blobs = Blobs::open(dir.path()).unwrap();
        let started = BlobService::start(dir.path(), blobs, &bounds, commit_threads);
        let (service, threads) = started.unwrap();
        Bench {
            disk,
            dir,
            slot,
            service,
            threads: Some(threads),
            is_full,
        }
    }

    fn upload(&self, content: &'static [u8]) -> BlobId {
        let uploaded = block_on(async {
            let mut upload = self.service.upload(None, None).await?;
            upload.write(Bytes::from_static(content)).await?;
            upload.finish().await
        });
        let uploaded = uploaded.unwrap();
        assert_eq!(uploaded.bytes, content.len() as u64);
        uploaded.hold.id()
    }

    fn attach(&self, now: u64, blob: BlobId, bytes: u64) {
        let attachment = Attachment { blob, bytes };
        let attach = fixture::attach(1, self.slot, now, attachment);
        let verdicts = self.disk.ledger.commit(vec![attach]).unwrap();
        assert!(verdicts[0].is_ok());
    }

    /// As if nobody had used it for more than an hour.
    fn age(&self, blob: BlobId) {
        let path = self.dir.path().join(format!("{:02x}", blob.as_bytes()[0]));
        let file = fs::File::open(path.join(blob.to_string())).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        file.set_modified(modified - Duration::from_secs(4000))
            .unwrap();
    }

    /// Waits until the sweep has begun anew and gone through all blobs.
    fn sweep(&self) {
        let from = self.service.stats().sweeps.get();
        wait_for(|| self.service.stats().sweeps.get() > from + 2);
    }

    fn unfinished(&self) -> usize {
        fs::read_dir(self.dir.path().join("unfinished"))
            .unwrap()
            .count()
    }

    fn stop(mut self) {
        for thread in self.threads.take().unwrap().stop() {
            thread.join().unwrap();
        }
    }
}

/// Past an hour, and without a rest.
fn sweeping() -> BlobBounds {
    BlobBounds {
        ttl: Duration::from_secs(3600),
        sweep_every: Duration::from_millis(1),
        ..BlobBounds::default()
    }
}

fn wait_for(mut reached: impl FnMut() -> bool) {
    while !reached() {
        std::thread::yield_now();
    }
}

#[test]
fn what_is_attached_stays_and_the_refusal_says_by_whom() {
    let bench = Bench::new(BlobBounds::default());
    let blob = bench.upload(b"content");
    bench.attach(2, blob, 7);
    let refused = block_on(bench.service.remove(blob)).unwrap_err();
    let BlobRequestError::InUse {
        contexts, is_held, ..
    } = refused
    else {
        panic!("{refused}")
    };
    assert_eq!((contexts, is_held), (vec![fixture::id(1)], false));
    let info = block_on(bench.service.info(blob)).unwrap();
    assert_eq!(info.contexts, [fixture::id(1)]);
    assert_eq!(info.entry.bytes, Some(7));
    let other = bench.upload(b"other");
    let hold = bench.service.blobs().hold(other).unwrap().unwrap();
    let held = block_on(bench.service.remove(other)).unwrap_err();
    assert!(
        matches!(held, BlobRequestError::InUse { is_held: true, .. }),
        "{held}"
    );
    drop(hold);
    block_on(bench.service.remove(other)).unwrap();
    let gone = block_on(bench.service.remove(other)).unwrap_err();
    assert!(matches!(gone, BlobRequestError::Unknown { .. }), "{gone}");
    bench.stop();
}

/// Its length would be one that a blob can have, only not this one.
#[test]
fn a_blob_that_was_cut_off_is_not_attached() {
    let bench = Bench::new(BlobBounds::default());
    let blob = bench.upload(b"a content that is cut off");
    let measure = || {
        let mut pending = bench.service.begin_hold(blob).unwrap();
        let held = block_on(poll_fn(|cx| pending.poll(cx))).unwrap();
        held.map(|(_, bytes)| bytes)
    };
    assert_eq!(measure(), Some(25));
    let dir = format!("{:02x}", blob.as_bytes()[0]);
    let file = bench.dir.path().join(dir).join(blob.to_string());
    let file = fs::OpenOptions::new().write(true).open(file).unwrap();
    file.set_len(30).unwrap();
    assert_eq!(measure(), None);
    assert_eq!(bench.service.stats().damaged.get(), 1);
    bench.stop();
}

#[test]
fn nothing_goes_while_a_backup_may_have_to_read_it() {
    let bench = Bench::new(BlobBounds::default());
    let blob = bench.upload(b"content");
    let backup = bench.service.keep_all();
    let kept = block_on(bench.service.remove(blob)).unwrap_err();
    assert!(matches!(kept, BlobRequestError::BackupUnderWay), "{kept}");
    drop(backup);
    block_on(bench.service.remove(blob)).unwrap();
    bench.stop();
}

/// Of each kind one: attached, not attached, and not attached during a backup.
#[test]
fn the_sweep_removes_what_nobody_refers_to_and_counts_the_rest() {
    let bench = Bench::new(sweeping());
    let (attached, free) = (bench.upload(b"attached"), bench.upload(b"free"));
    bench.attach(2, attached, 8);
    let backup = bench.service.keep_all();
    let stats = bench.service.stats();
    bench.age(attached);
    bench.age(free);
    bench.sweep();
    assert_eq!((stats.blobs.get(), stats.bytes.get()), (2, 12));
    assert_eq!(stats.swept.get(), 0, "a backup may have to read it");
    drop(backup);
    bench.sweep();
    assert_eq!((stats.swept.get(), stats.swept_bytes.get()), (1, 4));
    assert_eq!((stats.blobs.get(), stats.bytes.get()), (1, 8));
    let left = block_on(bench.service.page(None, 10)).unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].id, attached);
    bench.stop();
}

/// What is noted of its attachment is damaged, or is not found any more.
#[test]
fn nothing_goes_as_long_as_a_note_of_an_attachment_is_damaged() {
    // The last byte of the blob's id, and one of what is noted under it.
    for offset in [31, 48 + 4] {
        let bench = Bench::new(sweeping());
        let (attached, free) = (bench.upload(b"attached"), bench.upload(b"free"));
        bench.attach(2, attached, 8);
        let slot = bench.slot.number().to_be_bytes();
        let mut row = [attached.as_bytes(), &slot[..], &8_u64.to_be_bytes()].concat();
        bench.disk.flip(&row, offset);
        // A round that has compared before may go on.
        bench.sweep();
        bench.age(attached);
        bench.age(free);
        bench.sweep();
        let stats = bench.service.stats();
        assert_eq!((stats.swept.get(), stats.kept_all.get()), (0, 1));
        let refused = block_on(bench.service.remove(attached)).unwrap_err();
        assert!(
            matches!(refused, BlobRequestError::Unsure { .. }),
            "{refused}"
        );
        // No entry refers to this one, which was looked for: so it need not wait.
        block_on(bench.service.remove(free)).unwrap();
        // Mended, it goes on.
        if let Some(byte) = row.get_mut(offset) {
            *byte ^= 0x10;
        }
        bench.disk.flip(&row, offset);
        bench.sweep();
        assert_eq!((stats.swept.get(), stats.kept_all.get()), (0, 0));
        bench.stop();
    }
}

/// A note that is lost behind the sweep's comparison is missed by no removal.
#[test]
fn what_is_attached_stays_though_its_note_was_right_when_all_were_compared() {
    let bench = Bench::new(BlobBounds::default());
    let attached = bench.upload(b"attached");
    bench.attach(2, attached, 8);
    let stats = bench.service.stats();
    wait_for(|| stats.sweeps.get() > 0);
    assert_eq!(stats.kept_all.get(), 0);
    let slot = bench.slot.number().to_be_bytes();
    let row = [attached.as_bytes(), &slot[..], &8_u64.to_be_bytes()].concat();
    bench.disk.flip(&row, 31);
    let refused = block_on(bench.service.remove(attached)).unwrap_err();
    assert!(
        matches!(refused, BlobRequestError::Unsure { .. }),
        "{refused}"
    );
    assert!(bench.service.blobs().entry(attached).unwrap().is_some());
    bench.stop();
}

/// A ledger that cannot be asked is not one that is damaged.
#[test]
fn a_full_disk_is_told_as_that_and_says_nothing_of_notes() {
    let bench = Bench::new(sweeping());
    let free = bench.upload(b"free");
    bench.sweep();
    bench.is_full.store(true, Relaxed);
    bench.sweep();
    let stats = bench.service.stats();
    assert_eq!(stats.kept_all.get(), 0);
    let refused = block_on(bench.service.remove(free)).unwrap_err();
    assert!(
        matches!(
            refused,
            BlobRequestError::Ledger(StoreError::DiskFull { .. })
        ),
        "{refused}"
    );
    bench.is_full.store(false, Relaxed);
    block_on(bench.service.remove(free)).unwrap();
    bench.stop();
}

/// A round that has found out what may go does not hold up the end of the server.
#[test]
fn a_sweep_that_is_to_end_removes_no_more() {
    let bench = Bench::new(BlobBounds::default());
    for content in [&b"one"[..], b"two", b"three"] {
        let blob = bench.upload(content);
        bench.age(blob);
    }
    let (stop, stopped) = bounded::<()>(0);
    let sweeper = Sweeper {
        service: bench.service.clone(),
        stop: stopped,
        ttl: Duration::from_secs(3600),
        every: Duration::ZERO,
    };
    drop(stop);
    sweeper.round().unwrap_err();
    let left = block_on(bench.service.page(None, 10)).unwrap();
    assert_eq!(left.len(), 3);
    bench.stop();
}

/// Calls of it may be put aside, of whose attachments nothing is noted.
#[test]
fn nothing_goes_as_long_as_a_context_is_out_of_service() {
    let bench = Bench::new(sweeping());
    let free = bench.upload(b"free");
    let quarantine = |why: Option<&str>| {
        let (context, why) = (fixture::id(1), why.map(str::to_owned));
        let change = Change::Quarantine { context, why };
        bench
            .disk
            .ledger
            .commit(vec![change])
            .unwrap()
            .remove(0)
            .unwrap();
    };
    quarantine(Some("damage"));
    bench.sweep();
    bench.age(free);
    bench.sweep();
    let stats = bench.service.stats();
    assert_eq!((stats.swept.get(), stats.kept_all.get()), (0, 1));
    let refused = block_on(bench.service.remove(free)).unwrap_err();
    let BlobRequestError::OutOfService { context } = refused else {
        panic!("{refused}")
    };
    assert_eq!(context, Some(fixture::id(1)));
    assert!(
        refused.to_string().contains("corelet context release"),
        "{refused}"
    );
    quarantine(None);
    bench.sweep();
    assert_eq!((stats.swept.get(), stats.kept_all.get()), (1, 0));
    bench.stop();
}

/// Its file is closed and removed by the blobs' own threads, whatever it was at.
#[test]
fn an_upload_that_is_dropped_leaves_nothing() {
    let bench = Bench::new(BlobBounds {
        uploads_max: 1,
        ..BlobBounds::default()
    });
    for in_the_middle in [false, true] {
        let mut upload = block_on(bench.service.upload(None, None)).unwrap();
        assert_eq!(bench.unfinished(), 1);
        let full = block_on(bench.service.upload(None, None)).err().unwrap();
        let is_full = matches!(
            full,
            BlobRequestError::Busy {
                limit: "blobs.uploads_max",
                max: 1
            }
        );
        assert!(is_full, "{full}");
        if in_the_middle {
            let write = upload.write(Bytes::from_static(&[7; 100_000]));
            drop(block_on(poll_once(write)));
        }
        drop(upload);
        wait_for(|| bench.service.uploads() == 0);
        assert_eq!(bench.unfinished(), 0);
    }
    bench.stop();
}

#[test]
fn a_download_is_one_part_ahead_of_its_client() {
    let bench = Bench::new(BlobBounds::default());
    static CONTENT: [u8; 5 << 18] = [7; 5 << 18];
    let blob = bench.upload(&CONTENT);
    let mut download = block_on(bench.service.download(blob)).unwrap();
    download.narrow(100..(4 << 18) + 1);
    let mut next = || block_on(poll_fn(|cx| download.poll_next(cx)));
    let mut sizes = Vec::new();
    while let Some(part) = next() {
        sizes.push(part.unwrap().len());
    }
    assert_eq!(sizes, [(1 << 18) - 100, 1 << 18, 1 << 18, 1 << 18, 1]);
    assert!(next().is_none());
    drop(download);
    wait_for(|| bench.service.downloads() == 0);
    bench.stop();
}
