//! Shards together, without HTTP: contexts on several cores, restart, names,
//! limits, and the mesh under load.

mod applications;
mod caching;
mod neighbours;
mod room;

use std::future::poll_fn;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use corelet_shard::{Bounds, Call, CallError, ContextReader, Cores, NewContext, ShardHandle};
use corelet_store::{ApplicationId, ContextId, PastError};
use corelet_tests::{TestNode, component};
use serde_json::{Value, json};

fn caller() -> Arc<str> {
    Arc::from("test")
}

async fn call(
    shard: &ShardHandle,
    context: ContextId,
    method: &str,
    args: Value,
) -> Result<Value, CallError> {
    let call = Call {
        method: Bytes::from(method.to_owned()),
        args: Bytes::from(args.to_string()),
        caller: caller(),
        key: None,
    };
    let reply = shard.call(context, call).await?;
    Ok(serde_json::from_slice(&reply.output).expect("an output is JSON"))
}

async fn install(shard: &ShardHandle, app: &str) -> ApplicationId {
    shard
        .install_application(component(app).into(), None)
        .await
        .expect("an example application installs")
        .id
}

async fn create(
    shard: &ShardHandle,
    application: ApplicationId,
    name: Option<&str>,
) -> Result<ContextId, CallError> {
    let new = NewContext {
        application,
        name: name.map(str::to_owned),
        args: Bytes::from_static(b"{}"),
        caller: caller(),
    };
    Ok(shard.create_context(new).await?.id)
}

#[test]
fn contexts_on_every_shard_keep_their_state_across_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let node = TestNode::with_shards(3);
    let contexts = node.run(data.path(), |shard| async move {
        let kv = install(&shard, "kv").await;
        let mut contexts = Vec::new();
        let mut shards = std::collections::BTreeSet::new();
        // So many that all miss one of the shards once in a hundred million runs.
        for n in 0..48 {
            let context = create(&shard, kv, Some(&format!("c{n}"))).await.unwrap();
            assert_eq!(
                call(
                    &shard,
                    context,
                    "set",
                    json!({"key": "n", "value": n.to_string()})
                )
                .await
                .unwrap(),
                Value::Null
            );
            shards.insert(shard.show_context(context).await.unwrap().shard);
            contexts.push(context);
        }
        assert_eq!(shards.len(), 3, "48 random ids meet all of 3 shards");
        contexts
    });
    node.run(data.path(), move |shard| async move {
        assert_eq!(shard.list_applications().len(), 1);
        for (n, context) in contexts.iter().enumerate() {
            assert_eq!(shard.resolve(&format!("c{n}")).unwrap(), *context);
            assert_eq!(
                call(&shard, *context, "get", json!({"key": "n"}))
                    .await
                    .unwrap(),
                json!(n.to_string())
            );
        }
        let mut listed: Vec<_> = shard
            .list_contexts(None, 100)
            .await
            .unwrap()
            .into_iter()
            .map(|info| info.id)
            .collect();
        listed.sort();
        let mut expected = contexts.clone();
        expected.sort();
        assert_eq!(listed, expected);
    });
}

#[test]
fn updates_that_meet_on_one_context_happen_one_after_the_other() {
    let data = tempfile::tempdir().unwrap();
    TestNode::with_shards(2).run(data.path(), |shard| async move {
        let counter = install(&shard, "counter").await;
        for _ in 0..4 {
            let context = create(&shard, counter, None).await.unwrap();
            let increments = (0..200).map(|_| call(&shard, context, "increment", json!({"by": 1})));
            let mut results: Vec<i64> = futures_util::future::join_all(increments)
                .await
                .into_iter()
                .map(|result| result.unwrap().as_i64().unwrap())
                .collect();
            results.sort_unstable();
            assert_eq!(
                results,
                (1..=200).collect::<Vec<_>>(),
                "each update saw the one before it"
            );
            assert_eq!(
                call(&shard, context, "get", json!({})).await.unwrap(),
                json!(200)
            );
            assert_eq!(shard.show_context(context).await.unwrap().version, 200);
        }
    });
}

#[test]
fn names_are_unique_over_all_shards_and_free_again_after_a_deletion() {
    let data = tempfile::tempdir().unwrap();
    TestNode::with_shards(3).run(data.path(), |shard| async move {
        let kv = install(&shard, "kv").await;
        let first = create(&shard, kv, Some("room")).await.unwrap();
        for _ in 0..6 {
            let taken = create(&shard, kv, Some("room")).await.unwrap_err();
            assert!(
                matches!(taken, CallError::NameTaken { holder, .. } if holder == first),
                "{taken}"
            );
        }
        assert_eq!(shard.list_contexts(None, 10).await.unwrap().len(), 1);
        shard.delete_context(first).await.unwrap();
        assert!(matches!(
            shard.resolve("room"),
            Err(CallError::ContextNotFound { .. })
        ));
        let gone = call(&shard, first, "get", json!({"key": "a"}))
            .await
            .unwrap_err();
        assert!(matches!(gone, CallError::ContextNotFound { .. }), "{gone}");
        let second = create(&shard, kv, Some("room")).await.unwrap();
        assert_eq!(shard.resolve("room").unwrap(), second);

        // Two at once: exactly one gets the name.
        let (a, b) = futures_util::future::join(
            create(&shard, kv, Some("x")),
            create(&shard, kv, Some("x")),
        )
        .await;
        assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");
        assert_eq!(shard.list_contexts(None, 10).await.unwrap().len(), 2);
    });
}

#[test]
fn a_failed_update_leaves_no_trace() {
    let data = tempfile::tempdir().unwrap();
    TestNode::default().run(data.path(), |shard| async move {
        let kv = install(&shard, "kv").await;
        let context = create(&shard, kv, None).await.unwrap();
        call(&shard, context, "set", json!({"key": "a", "value": "1"}))
            .await
            .unwrap();
        let before = shard.show_context(context).await.unwrap();
        for (method, args) in [
            ("set", json!({"key": "a"})),
            ("set", json!([])),
            ("set", json!({"key": 1, "value": "2"})),
        ] {
            let error = call(&shard, context, method, args).await.unwrap_err();
            assert!(matches!(error, CallError::Guest { .. }), "{error}");
        }
        let missing = call(&shard, context, "nope", json!({})).await.unwrap_err();
        assert!(
            matches!(missing, CallError::MethodNotFound { .. }),
            "{missing}"
        );
        let after = shard.show_context(context).await.unwrap();
        assert_eq!((before.root, before.version), (after.root, after.version));
        assert_eq!(
            call(&shard, context, "get", json!({"key": "a"}))
                .await
                .unwrap(),
            json!("1")
        );
    });
}

/// It has nothing to hand on yet, so that nothing but itself can end it.
#[test]
fn a_reading_that_finds_its_time_over_is_told_as_one_that_took_too_long() {
    let data = tempfile::tempdir().unwrap();
    let copy_age_max = Duration::from_millis(50);
    let bounds = Bounds {
        copy_age_max,
        ..Bounds::default()
    };
    TestNode {
        bounds,
        ..TestNode::with_shards(1)
    }
    .run(data.path(), move |shard| async move {
        let counter = install(&shard, "counter").await;
        let context = create(&shard, counter, None).await.unwrap();
        let read: ContextReader = Box::new(|_, _, is_over, _| {
            while !is_over() {
                std::thread::yield_now();
            }
            Err(PastError::Stopped.into())
        });
        let mut stream = shard.read_context(context, read).unwrap();
        let ended = poll_fn(|cx| stream.poll_next(cx)).await;
        assert!(
            matches!(&ended, Some(Err(CallError::CopyTooOld { max })) if *max == copy_age_max),
            "{ended:?}"
        );
    });
}

/// What it has handed on is taken, and there is nothing further yet, so that no write can
/// tell it that its client has gone.
#[test]
fn a_reading_for_which_nobody_waits_any_more_is_told_to_end() {
    const PART: usize = 256 << 10;
    let data = tempfile::tempdir().unwrap();
    let (ends, has_ended) = mpsc::channel();
    TestNode::with_shards(1).run(data.path(), move |shard| async move {
        let counter = install(&shard, "counter").await;
        let context = create(&shard, counter, None).await.unwrap();
        let read: ContextReader = Box::new(move |_, _, is_over, out| {
            assert!(!is_over());
            out.write_all(&[b' '; PART])?;
            while !is_over() {
                std::thread::yield_now();
            }
            ends.send(()).unwrap();
            Err(PastError::Stopped.into())
        });
        let mut stream = shard.read_context(context, read).unwrap();
        let first = poll_fn(|cx| stream.poll_next(cx)).await;
        assert!(matches!(first, Some(Ok(_))), "{first:?}");
    });
    has_ended.recv().unwrap();
}

/// The gate on the executor's envelope, in small: hops between shards on cores of
/// their own, each asking the other, none lost. `make soak` raises the count.
#[test]
fn hops_between_shards_never_hang() {
    const SHARDS: u16 = 2;
    const LANES: u64 = 64;
    let hops: u64 = std::env::var("CORELET_HOPS")
        .ok()
        .and_then(|hops| hops.parse().ok())
        .unwrap_or(100_000);
    let data = tempfile::tempdir().unwrap();
    let node = TestNode {
        cores: Cores::Every,
        ..TestNode::with_shards(SHARDS)
    };
    let done = node.run_on_each(data.path(), move |shard| async move {
        let kv = install(&shard, "kv").await;
        let mut away = create(&shard, kv, None).await.unwrap();
        while shard.show_context(away).await.unwrap().shard == shard.id() {
            away = create(&shard, kv, None).await.unwrap();
        }
        let each = hops / u64::from(SHARDS) / LANES;
        let lane = || async {
            for _ in 0..each {
                call(&shard, away, "get", json!({"key": "a"}))
                    .await
                    .unwrap();
            }
        };
        futures_util::future::join_all((0..LANES).map(|_| lane())).await;
        each * LANES
    });
    assert_eq!(done.len(), usize::from(SHARDS));
    println!("{} hops", done.iter().sum::<u64>());
}
