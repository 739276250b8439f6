//! Blobs that deltas of other nodes attach: from before such deltas go to the disk until they
//! are durable, those of them that are here are held, as those are that a turn attaches. One
//! that is not here is fine, as its content may come later. Taking holds is work for the blobs'
//! threads. How a delivery goes is in `delivery.rs`. Start at [`Shard::hold_attached`].

use std::collections::BTreeSet;

use corelet_store::{BlobHold, BlobId, VouchedDelta};

use crate::rt;
use crate::shard::Shard;

/// Holds that are taken in one piece of work, so that turns that wait for one do not wait long.
const HOLDS_AT_ONCE: usize = 64;

impl Shard {
    /// Holds what these deltas attach, as far as it is here.
    pub(crate) async fn hold_attached(
        &self,
        deltas: impl Iterator<Item = &VouchedDelta>,
    ) -> Vec<BlobHold> {
        let attached = deltas.flat_map(VouchedDelta::attached).copied();
        let attached: BTreeSet<BlobId> = attached.collect();
        let attached: Vec<BlobId> = attached.into_iter().collect();
        let mut holds = Vec::new();
        for part in attached.chunks(HOLDS_AT_ONCE) {
            let pending = loop {
                match self.blobs.begin_holds(part.to_vec()) {
                    Some(pending) => break pending,
                    // Too many take holds at this moment. The threads outlive the shards' work,
                    // and they may take long: they read from the disk.
                    None => rt::breathe().await,
                }
            };
            // What could not be held was logged; it is attached all the same.
            holds.extend(pending.await.unwrap_or_default());
        }
        holds
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::task::Poll;

    use bytes::Bytes;
    use futures_lite::future::{block_on, or, poll_once};

    use corelet_store::Attachment;

    use super::*;
    use crate::delivery::Delivered;
    use crate::fixture::{self, Bench, Disk, Peer};
    use crate::mailbox::mailbox;

    /// Until then a sweep that has asked the ledgers before would remove it.
    #[test]
    fn what_another_node_attaches_is_held_until_that_is_durable() {
        let disk = Disk::new();
        let slot = disk.create(1);
        let bench = Bench::new(disk);
        let blobs = &bench.shard.blobs;
        let here = block_on(async {
            let mut upload = blobs.upload(None, None).await?;
            upload.write(Bytes::from_static(b"content")).await?;
            upload.finish().await
        });
        let here = here.unwrap().hold.id();
        let elsewhere = BlobId::of(b"of another node");
        assert!(!blobs.blobs().is_held(&here));
        let peer = Peer::new();
        let deltas = vec![
            peer.attach(
                9,
                Attachment {
                    blob: here,
                    bytes: 7,
                },
            ),
            peer.attach(
                10,
                Attachment {
                    blob: elsewhere,
                    bytes: 15,
                },
            ),
        ];
        let mut delivery = Box::pin(bench.shard.deliver_here(fixture::id(1), deltas));
        while bench.queue.is_empty() {
            assert!(block_on(poll_once(&mut delivery)).is_none());
            std::thread::yield_now();
        }
        assert!(blobs.blobs().is_held(&here));
        assert!(!blobs.blobs().is_held(&elsewhere));
        bench.commit();
        assert!(!blobs.blobs().is_held(&here));
        assert!(block_on(poll_once(&mut delivery)).is_none());
        bench.checkpoint();
        let delivered = block_on(poll_once(&mut delivery)).unwrap().unwrap();
        assert!(delivered.iter().all(|it| matches!(it, Delivered::Applied)));
        let snapshot = bench.disk.ledger.snapshot().unwrap();
        for blob in [here, elsewhere] {
            assert_eq!(snapshot.attached_by(blob, 2).unwrap(), [slot]);
        }
    }

    /// The disk decides for how long the blobs' threads have no room.
    #[test]
    fn who_waits_for_room_among_the_holds_lets_the_shard_go_on() {
        let config = rt::ExecutorConfig::default();
        let scenario = async || {
            let disk = Disk::new();
            disk.create(1);
            let bench = Bench::new(disk);
            let attachment = Attachment {
                blob: BlobId::of(b"content"),
                bytes: 7,
            };
            let deltas = vec![Peer::new().attach(9, attachment)];
            let full = bench.shard.blobs.fill_holds();
            let mut delivery = Box::pin(bench.shard.deliver_here(fixture::id(1), deltas));
            let delivered = async { Some((&mut delivery).await.map(drop)) };
            // Another task hears another thread's word when sockets are heard, too.
            let (outbox, mut inbox) = mailbox(1);
            let is_heard = Rc::new(Cell::new(false));
            let hears = Rc::clone(&is_heard);
            let (begin, begun) = crossbeam_channel::bounded(1);
            let is_said = Arc::new(AtomicBool::new(false));
            let says = Arc::clone(&is_said);
            let other = std::thread::Builder::new().spawn(move || {
                begun.recv().unwrap();
                outbox.post(()).unwrap();
                says.store(true, Relaxed);
            });
            rt::spawn(async move {
                begin.send(()).unwrap();
                inbox.take().await;
                hears.set(true);
            });
            let mut asked_since = 0;
            let heard = poll_fn(|_| {
                asked_since += u32::from(is_said.load(Relaxed));
                match is_heard.get() {
                    true => Poll::Ready(None),
                    false => Poll::Pending,
                }
            });
            let first = or(delivered, heard).await;
            assert!(first.is_none(), "there was room: {first:?}");
            assert!(bench.queue.is_empty());
            other.unwrap().join().unwrap();
            assert!(asked_since < 100, "asked {asked_since} times meanwhile");
            drop(full);
            while bench.queue.is_empty() {
                assert!(poll_once(&mut delivery).await.is_none());
                rt::breathe().await;
            }
        };
        rt::run("a test", &config, scenario).unwrap();
    }

    /// They may be any number, and whoever has sent them sends them again.
    #[test]
    fn nothing_is_held_for_deltas_from_the_future() {
        let disk = Disk::new();
        disk.create(1);
        let bench = Bench::new(disk);
        // A hold that is asked for is waited for.
        bench.shard.blobs.stop_holds();
        let attachment = Attachment {
            blob: BlobId::of(b"content"),
            bytes: 7,
        };
        let far = u64::MAX >> 12;
        let deltas = vec![Peer::new().attach(far, attachment)];
        assert_eq!(deltas[0].attached(), [attachment.blob]);
        let mut delivery = Box::pin(bench.shard.deliver_here(fixture::id(1), deltas));
        let mut polls = (0..9).filter_map(|_| block_on(poll_once(&mut delivery)));
        let delivered = polls.next().expect("it waits for no hold").unwrap();
        assert!(matches!(delivered[..], [Delivered::FromTheFuture(_)]));
    }
}
