//! Two nodes with the same context, each called while it takes in what the other has made.
//! What one hands to the other goes by hand here; everything else is real.

use std::io::Cursor;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use bytes::Bytes;
use corelet_shard::{Call, CopyStream, Delivered, NewContext, ReadError, ShardHandle};
use corelet_store::{
    Arrival, BlobId, ContextId, DeltaId, DeltaView, ExportScope, Hlc, ImportPlace, LedgerConfig,
    NodeId, Refused, Seal, Sealer, VouchedDelta, import_into, make_seals, vouch,
};
use corelet_tests::{NodeKey, TestNode, component};
use futures_util::future::{join, join_all, poll_fn};
use serde_json::{Value, json};

const ROUNDS: usize = 12;
const CALLS: usize = 5;

/// What one node hands to the other: what it has made, and its seal on the newest of it.
type Handed = (Vec<Bytes>, Option<Vec<u8>>);

fn node(key: u8) -> TestNode {
    TestNode {
        key,
        ..TestNode::with_shards(2)
    }
}

async fn call(shard: &ShardHandle, context: ContextId, method: &str, args: Value) -> Value {
    let call = Call {
        method: Bytes::from(method.to_owned()),
        args: Bytes::from(args.to_string()),
        caller: Arc::from("test"),
        key: None,
    };
    let reply = shard.call(context, call).await.expect("an answer");
    serde_json::from_slice(&reply.output).expect("an output is JSON")
}

async fn install(shard: &ShardHandle) -> corelet_store::ApplicationId {
    let docs = shard.install_application(component("docs").into(), None);
    docs.await.expect("an example application installs").id
}

async fn share(shard: &ShardHandle, context: ContextId, with: u8) {
    let members = vec![NodeKey::of(with).node_id()];
    let shared = shard.set_members(context, members);
    shared.await.expect("it may be shared");
}

async fn whole(mut stream: CopyStream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(part) = poll_fn(|cx| stream.poll_next(cx)).await {
        all.extend_from_slice(&part.expect("a part"));
    }
    all
}

/// A context of one node, written to, on another one as well.
fn two_nodes_with_a_context(one: &Path, other: &Path) -> ContextId {
    let (context, copy) = node(1).run(one, |shard| async move {
        let new = NewContext {
            application: install(&shard).await,
            name: None,
            args: Bytes::from_static(b"{}"),
            caller: Arc::from("test"),
        };
        let context = shard.create_context(new).await.expect("a context").id;
        share(&shard, context, 2).await;
        let args = json!({ "title": "plan", "at": 0, "what": "begun. " });
        call(&shard, context, "write", args).await;
        let scope = ExportScope {
            private: false,
            log: true,
        };
        let copy = shard.export_context(context, scope).expect("a copy");
        (context, whole(copy).await)
    });
    node(2).run(other, |shard| async move {
        install(&shard).await;
    });
    let place = ImportPlace {
        path: other,
        ledger: LedgerConfig::default(),
        arrival: Arrival::trusting(Hlc::ZERO),
    };
    import_into(&place, Cursor::new(copy)).expect("the copy is whole");
    context
}

/// What `author` has made of a context behind `last`, oldest first.
async fn made(
    shard: &ShardHandle,
    context: ContextId,
    author: NodeId,
    last: Option<DeltaId>,
) -> Vec<Bytes> {
    let (to_here, found) = channel();
    let read = shard.read_context(
        context,
        Box::new(move |snapshot, context, _, _| {
            snapshot.deltas(context.slot, usize::MAX, &mut |_, delta| {
                if Some(delta.id()) == last {
                    return ControlFlow::Break(());
                }
                if delta.author() == author {
                    let canonical = Bytes::copy_from_slice(delta.canonical());
                    to_here.send(canonical).expect("it waits");
                }
                ControlFlow::Continue(())
            })?;
            Ok::<(), ReadError>(())
        }),
    );
    whole(read.expect("it begins")).await;
    let mut made: Vec<Bytes> = found.iter().collect();
    made.reverse();
    made
}

fn believed(context: ContextId, (deltas, seal): Handed) -> Vec<VouchedDelta> {
    let Some(newest) = deltas.last() else {
        return Vec::new();
    };
    let newest = DeltaView::parse(newest).expect("a delta").id();
    let seal = Seal::read(&seal.expect("a seal")).expect("a seal");
    let sealed = seal.check(context, newest).expect("it is its author's");
    vouch(context, deltas, [sealed]).expect("deltas")
}

/// All that a node has made of a context, for the other one.
async fn all_made(shard: &ShardHandle, context: ContextId, key: u8) -> Handed {
    let own = NodeKey::of(key);
    let made = made(shard, context, own.node_id(), None).await;
    let newest = made.last().expect("it has made something");
    let newest = DeltaView::parse(newest).expect("a delta").id();
    let seal = make_seals(&own, &[(context, newest)]).remove(0).to_bytes();
    (made, Some(seal))
}

async fn deliver(shard: &ShardHandle, context: ContextId, handed: Handed) {
    let deltas = believed(context, handed);
    let count = deltas.len();
    let outcomes = shard.deliver(context, deltas).await;
    check(outcomes.expect("an answer"), count);
}

/// All of these deltas are here.
fn check(delivered: Vec<Delivered>, count: usize) {
    assert_eq!(delivered.len(), count);
    for outcome in delivered {
        let is_here = match &outcome {
            Delivered::Applied => true,
            Delivered::Refused(why) => matches!(**why, Refused::AppliedBefore { .. }),
            Delivered::FromTheFuture(_) => false,
        };
        assert!(is_here, "{outcome:?}");
    }
}

/// The blob with this content, on this node as well.
async fn upload(shard: &ShardHandle, content: &[u8]) -> BlobId {
    let upload = shard.blobs().upload(None, None).await;
    let mut upload = upload.expect("there is room");
    upload
        .write(content.to_vec().into())
        .await
        .expect("it is taken");
    upload.finish().await.expect("it is there").hold.id()
}

/// One node lets go of the only comment that shows a blob, which the other has made, while that makes
/// a second one; later a third one comes and goes.
#[test]
fn a_blob_stays_attached_while_a_comment_of_another_node_shows_it() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let context = two_nodes_with_a_context(one.path(), other.path());
    let comment = |blob: BlobId| {
        let attachments = [blob.to_string()];
        json!({ "title": "plan", "at": 0, "count": 3, "remark": "see", "attachments": attachments })
    };
    let (first, both) = node(2).run(other.path(), move |shard| async move {
        share(&shard, context, 1).await;
        let blob = upload(&shard, b"a map").await;
        call(&shard, context, "comment", comment(blob)).await;
        let first = all_made(&shard, context, 2).await;
        call(&shard, context, "comment", comment(blob)).await;
        (first, all_made(&shard, context, 2).await)
    });
    let (comments, attached) = node(1).run(one.path(), move |shard| async move {
        let blob = upload(&shard, b"a map").await;
        deliver(&shard, context, first).await;
        let resolve = |place: u64| json!({ "title": "plan", "place": place });
        call(&shard, context, "resolve", resolve(0)).await;
        deliver(&shard, context, both).await;
        call(&shard, context, "comment", comment(blob)).await;
        call(&shard, context, "resolve", resolve(1)).await;
        let read = call(&shard, context, "read", json!({ "title": "plan" })).await;
        let attached = shard.attached(context, None, 9).await.expect("an answer");
        let is_it = attached
            .iter()
            .map(|attached| attached.id == blob.to_string());
        (read["comments"].clone(), is_it.collect::<Vec<_>>())
    });
    let comments = comments.as_array().expect("a list");
    assert_eq!(comments.len(), 1, "{comments:?}");
    assert_eq!(attached, [true], "the comment that is left shows it");
}

/// What a node ends with.
#[derive(Debug, PartialEq)]
struct End {
    root: String,
    document: Value,
    comments: Value,
}

/// One of the two, in rounds: it is called while it takes in what the other has made in
/// the round before.
async fn work(
    shard: ShardHandle,
    context: ContextId,
    key: u8,
    to: Sender<Handed>,
    from: Receiver<Handed>,
) -> End {
    let own = NodeKey::of(key);
    share(&shard, context, 3 - key).await;
    let mut last = None;
    let mut handed: Handed = Handed::default();
    // The last two rounds are for what is on its way.
    for round in 0..ROUNDS + 2 {
        let calls = (0..CALLS).filter(|_| round < ROUNDS).map(|n| {
            let (method, args) = match n {
                0 => {
                    let comment = json!({ "title": "plan", "at": 0, "count": 3, "remark": format!("{key} {round}") });
                    ("comment", comment)
                }
                _ => {
                    let what = format!("{key}:{round}:{n} ");
                    ("append", json!({ "title": "plan", "what": what }))
                }
            };
            call(&shard, context, method, args)
        });
        let deltas = believed(context, std::mem::take(&mut handed));
        let count = deltas.len();
        let (_, delivered) = join(join_all(calls), shard.deliver(context, deltas)).await;
        check(delivered.expect("an answer"), count);
        let made = made(&shard, context, own.node_id(), last).await;
        let newest = made
            .last()
            .map(|newest| DeltaView::parse(newest).expect("a delta").id());
        let seal = newest.map(|newest| make_seals(&own, &[(context, newest)]).remove(0).to_bytes());
        last = newest.or(last);
        to.send((made, seal)).expect("the other is there");
        handed = from.recv().expect("the other is there");
    }
    let args = json!({ "title": "plan" });
    End {
        root: shard
            .show_context(context)
            .await
            .expect("it is there")
            .root
            .to_string(),
        document: call(&shard, context, "read", args).await,
        comments: call(
            &shard,
            context,
            "comments",
            json!({ "title": "plan", "from": 0, "count": 1000 }),
        )
        .await,
    }
}

#[test]
fn two_nodes_that_are_called_while_they_hear_from_each_other_end_with_the_same() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let context = two_nodes_with_a_context(one.path(), other.path());
    let (to_other, from_one) = channel();
    let (to_one, from_other) = channel();
    let ends = [
        (one.path().to_owned(), 1, to_other, from_other),
        (other.path().to_owned(), 2, to_one, from_one),
    ];
    let running = ends.map(|(path, key, to, from)| {
        let thread = thread::Builder::new().name(format!("node-{key}"));
        let running = thread
            .spawn(move || node(key).run(&path, move |shard| work(shard, context, key, to, from)));
        running.expect("a thread")
    });
    let [one, other] = running.map(|node| node.join().expect("it has not panicked"));
    assert_eq!(one, other);
    let text = one.document["text"].as_str().expect("a text");
    assert!(text.starts_with("begun. "), "{text}");
    for key in [1, 2] {
        for round in 0..ROUNDS {
            for n in 1..CALLS {
                assert_eq!(
                    text.matches(&format!("{key}:{round}:{n} ")).count(),
                    1,
                    "{text}"
                );
            }
        }
    }
    let comments = one.comments.as_array().expect("a list");
    assert_eq!(comments.len(), 2 * ROUNDS);
}
