//! Shards together, without HTTP: contexts on several cores, restart, names,
//! limits, and the mesh under load.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use corelet_shard::{Bounds, Call, CallError, ContextReader, Cores, NewContext, ShardHandle};
use corelet_store::{ApplicationId, ContextId, PastError};
use corelet_tests::{TestNode, caching, component, made, spinner};
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

#[test]
fn contexts_beyond_the_live_bound_give_way_and_come_back() {
    let data = tempfile::tempdir().unwrap();
    let bounds = Bounds {
        live_contexts_max: 4,
        ..Bounds::default()
    };
    TestNode {
        bounds,
        instances_max: 6,
        ..TestNode::with_shards(1)
    }
    .run(data.path(), |shard| async move {
        let counter = install(&shard, "counter").await;
        let mut contexts = Vec::new();
        for _ in 0..20 {
            contexts.push(create(&shard, counter, None).await.unwrap());
        }
        for round in 1..=5 {
            for context in &contexts {
                assert_eq!(
                    call(&shard, *context, "increment", json!({"by": 1}))
                        .await
                        .unwrap(),
                    json!(round)
                );
            }
        }
        assert!(shard.stats().live_contexts.get() <= 4);
        assert!(shard.stats().evictions.get() >= 80);
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

/// Forty contexts take ten times the memory that may stay. What stays is those
/// called last, small or large.
#[test]
fn warm_instances_take_so_much_memory_and_no_more() {
    const PAGE: u64 = 64 << 10;
    const LARGE: usize = 160;
    let data = tempfile::tempdir().unwrap();
    let max = 512 * PAGE;
    let bounds = Bounds {
        warm_memory_bytes_max: max,
        ..Bounds::default()
    };
    let node = TestNode {
        bounds,
        ..TestNode::with_shards(1)
    };
    node.run(data.path(), move |shard| async move {
        let guest = made::guest("grow_by").into();
        let grow = shard.install_application(guest, None).await.unwrap().id;
        let mut contexts = Vec::new();
        let counter = install(&shard, "counter").await;
        for n in 0..46 {
            let application = if n < 5 { counter } else { grow };
            contexts.push(create(&shard, application, None).await.unwrap());
        }
        let (small, large) = contexts.split_at(5);
        let get = async |context| call(&shard, context, "get", json!({})).await.unwrap();
        let (largest, large) = large.split_last().unwrap();
        // Tells of as many pages as it had, and those that its arguments ask for.
        let grow = async |context, pages: usize| {
            let args = json!("x".repeat(pages - 2));
            let has = call(&shard, context, "run", args).await.unwrap();
            let sum = shard.stats().warm_memory_bytes.get();
            assert!(sum <= max, "{sum} of {max} after {pages} more");
            has.as_u64().unwrap()
        };
        let instantiations = || shard.stats().instantiations.get();

        for context in small {
            get(*context).await;
        }
        let before = instantiations();
        for round in 1..=2 {
            for context in large {
                assert_eq!(grow(*context, LARGE).await, 161, "it was not kept");
                for context in small {
                    get(*context).await;
                }
            }
            let made = instantiations() - before;
            assert_eq!(made, round * large.len() as u64, "small ones were kept");
        }
        let sum = shard.stats().warm_memory_bytes.get();
        assert!(sum > max / 2, "only {sum} of {max} are used");

        // What no room is enough for costs nobody else theirs.
        let (before, evictions) = (instantiations(), shard.stats().evictions.get());
        for _ in 0..3 {
            assert_eq!(grow(*largest, 600).await, 601);
        }
        assert_eq!(instantiations() - before, 3);
        assert_eq!(shard.stats().evictions.get(), evictions);
        assert_eq!(shard.stats().warm_memory_bytes.get(), sum);

        let all = large.iter().map(|context| grow(*context, LARGE));
        futures_util::future::join_all(all).await;
        for context in &contexts {
            shard.delete_context(*context).await.unwrap();
        }
        assert_eq!(shard.stats().warm_memory_bytes.get(), 0);
        assert_eq!(shard.stats().warm_instances.get(), 0);
    });
}

/// One that needs more than is left is told so, and nobody else notices.
#[test]
fn a_call_that_finds_no_memory_left_is_refused_and_others_go_on() {
    let data = tempfile::tempdir().unwrap();
    let node = TestNode {
        instances_bytes_max: 20 << 16,
        ..TestNode::with_shards(1)
    };
    node.run(data.path(), |shard| async move {
        let guest = made::guest("grow_by").into();
        let grow = shard.install_application(guest, None).await.unwrap().id;
        let small = create(&shard, grow, None).await.unwrap();
        let large = create(&shard, grow, None).await.unwrap();
        for round in 1..=3 {
            let has = 1 + 2 * round;
            let answer = call(&shard, small, "run", json!("")).await;
            assert_eq!(answer.unwrap(), json!(has), "it was kept");
            let refused = call(&shard, large, "run", json!("x".repeat(28))).await;
            let Err(CallError::Busy { limit, used, max }) = refused else {
                panic!("{refused:?}")
            };
            assert_eq!((limit, max), ("instances_bytes_max", 20 << 16));
            assert_eq!(used, (has + 31) << 16, "beside the other's");
        }
        let answer = call(&shard, large, "run", json!("")).await;
        assert_eq!(answer.unwrap(), 3);
    });
}

/// A deleted context is swept between the batches of others; what those write
/// must be shown all the same, or they could never be forgotten.
#[test]
fn contexts_give_way_while_a_deleted_one_is_swept() {
    let data = tempfile::tempdir().unwrap();
    let bounds = Bounds {
        live_contexts_max: 8,
        ..Bounds::default()
    };
    let node = TestNode {
        bounds,
        ..TestNode::with_shards(1)
    };
    node.run(data.path(), |shard| async move {
        let kv = install(&shard, "kv").await;
        let doomed = create(&shard, kv, None).await.unwrap();
        for n in 0..1500 {
            let args = json!({ "key": n.to_string(), "value": "v" });
            call(&shard, doomed, "set", args).await.unwrap();
        }
        let mut contexts = Vec::new();
        for _ in 0..24 {
            contexts.push(create(&shard, kv, None).await.unwrap());
        }
        shard.delete_context(doomed).await.unwrap();
        let mut most_alive = 0;
        for round in 0..8 {
            for context in &contexts {
                let args = json!({ "key": "n", "value": round.to_string() });
                call(&shard, *context, "set", args).await.unwrap();
                most_alive = most_alive.max(shard.stats().live_contexts.get());
            }
        }
        assert!(most_alive <= 8, "{most_alive} contexts were alive");
        assert!(shard.stats().swept.get() > 0, "nothing was swept meanwhile");
        for context in contexts {
            let info = shard.show_context(context).await.unwrap();
            assert_eq!((info.version, info.entries), (8, 1));
        }
    });
}

#[test]
fn a_burst_after_a_restart_waits_for_one_load_of_its_application() {
    let data = tempfile::tempdir().unwrap();
    let bounds = Bounds {
        compile_queue_max: 1,
        ..Bounds::default()
    };
    let node = TestNode {
        bounds,
        ..TestNode::with_shards(1)
    };
    let contexts = node.run(data.path(), |shard| async move {
        let counter = install(&shard, "counter").await;
        let mut contexts = Vec::new();
        for _ in 0..40 {
            contexts.push(create(&shard, counter, None).await.unwrap());
        }
        contexts
    });
    node.run(data.path(), move |shard| async move {
        let calls = contexts
            .iter()
            .map(|context| call(&shard, *context, "increment", json!({"by": 2})));
        for answer in futures_util::future::join_all(calls).await {
            assert_eq!(answer.unwrap(), json!(2));
        }
    });
}

#[test]
fn a_call_waits_for_no_component_that_is_being_installed() {
    let data = tempfile::tempdir().unwrap();
    let node = TestNode::with_shards(1);
    let context = node.run(data.path(), |shard| async move {
        let counter = install(&shard, "counter").await;
        create(&shard, counter, None).await.unwrap()
    });
    // After a restart, so that its application has to be loaded.
    node.run(data.path(), move |shard| async move {
        let large = corelet_tests::made::ordinary(2_000);
        let installing = shard.install_application(large.into(), None);
        let get = (context, "get", json!({}));
        let (installed, answered) = calls_beside(&shard, installing, get).await;
        installed.unwrap();
        assert!(answered > 0, "the call waited for the compiler");
    });
}

#[test]
fn an_application_in_use_stays() {
    let data = tempfile::tempdir().unwrap();
    TestNode::with_shards(2).run(data.path(), |shard| async move {
        let kv = install(&shard, "kv").await;
        assert_eq!(
            install(&shard, "kv").await,
            kv,
            "installing again changes nothing"
        );
        let context = create(&shard, kv, None).await.unwrap();
        let refused = shard.remove_application(kv).await.unwrap_err();
        assert!(
            matches!(refused, CallError::ApplicationInUse { .. }),
            "{refused}"
        );
        shard.delete_context(context).await.unwrap();
        shard.remove_application(kv).await.unwrap();
        assert!(shard.list_applications().is_empty());
        assert!(matches!(
            create(&shard, kv, None).await,
            Err(CallError::ApplicationNotFound { .. })
        ));
    });
}

#[test]
fn a_removed_application_gives_its_space_back_at_the_next_start() {
    let data = tempfile::tempdir().unwrap();
    let node = TestNode::with_shards(1);
    let (kept, removed) = node.run(data.path(), |shard| async move {
        let kept = install(&shard, "kv").await;
        let removed = install(&shard, "counter").await;
        shard.remove_application(removed).await.unwrap();
        (kept, removed)
    });
    let file = |id| data.path().join("blobs").join(format!("{id}.wasm"));
    assert!(file(kept).exists() && file(removed).exists());
    node.run(data.path(), move |shard| async move {
        create(&shard, kept, None).await.unwrap();
    });
    assert!(file(kept).exists() && !file(removed).exists());
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

/// A context whose `init` takes some 30 slices.
async fn create_slowly(
    shard: &ShardHandle,
    application: ApplicationId,
) -> Result<ContextId, CallError> {
    let new = NewContext {
        application,
        name: None,
        args: Bytes::from(json!({ "for": "x".repeat(60) }).to_string()),
        caller: caller(),
    };
    Ok(shard.create_context(new).await?.id)
}

/// A context of an application that remembers in its memory what it has written.
async fn create_caching(shard: &ShardHandle) -> ContextId {
    let installed = shard.install_application(caching().into(), None).await;
    let application = installed.expect("the application installs").id;
    create(shard, application, None).await.unwrap()
}

/// Whether a query meets in a guest's memory what is not durable.
async fn meets_what_is_not_durable(shard: &ShardHandle, context: ContextId) -> bool {
    let met = call(shard, context, "peek", json!({})).await.unwrap();
    met.as_bool().expect("it answers yes or no")
}

#[test]
fn a_query_beside_an_update_does_not_meet_its_writes_in_memory() {
    let data = tempfile::tempdir().unwrap();
    let node = TestNode::with_shards(1);
    node.run(data.path(), |shard| async move {
        let context = create_caching(&shard).await;
        let instantiations = shard.stats().instantiations.get();
        for round in 0..100 {
            // The query runs before anybody hears that the update is durable.
            let keep = call(&shard, context, "keep", json!({}));
            let meets = meets_what_is_not_durable(&shard, context);
            let (kept, meets) = futures_util::future::join(keep, meets).await;
            assert_eq!(kept.unwrap(), Value::Null);
            assert!(!meets, "in round {round}");
        }
        let made = shard.stats().instantiations.get() - instantiations;
        assert_eq!(made, 2, "one is for the updates, the other for the queries");
    });
}

#[test]
fn what_was_refused_is_not_remembered() {
    let data = tempfile::tempdir().unwrap();
    // Room for one of the writes, which count 305 bytes each.
    let bounds = Bounds {
        uncommitted_bytes_max: 400,
        ..Bounds::default()
    };
    let node = TestNode {
        bounds,
        ..TestNode::with_shards(1)
    };
    node.run(data.path(), |shard| async move {
        let context = create_caching(&shard).await;
        let keep = || call(&shard, context, "keep", json!({}));
        let (first, second) = futures_util::future::join(keep(), keep()).await;
        assert_eq!(first.unwrap(), Value::Null);
        assert_eq!(shard.stats().refused.get(), 1);
        let refused = second.unwrap_err();
        // So its guest has run, and only its writes were refused.
        assert!(
            matches!(
                refused,
                CallError::Busy {
                    limit: "uncommitted_bytes_max",
                    used: 610,
                    ..
                }
            ),
            "{refused}"
        );
        assert!(!meets_what_is_not_durable(&shard, context).await);
    });
}

#[test]
fn what_an_application_has_written_before_it_says_no_is_not_remembered() {
    let data = tempfile::tempdir().unwrap();
    let node = TestNode::with_shards(1);
    node.run(data.path(), |shard| async move {
        let context = create_caching(&shard).await;
        let denied = call(&shard, context, "deny", json!({})).await;
        assert!(matches!(denied, Err(CallError::Guest { .. })), "{denied:?}");
        assert!(!meets_what_is_not_durable(&shard, context).await);
    });
}

async fn install_spinner(shard: &ShardHandle) -> ApplicationId {
    let installed = shard.install_application(spinner().into(), None).await;
    installed.expect("the spinner installs").id
}

/// Waits for `slow`, and counts the calls of another context that are answered
/// meanwhile.
async fn calls_beside<T>(
    shard: &ShardHandle,
    slow: impl Future<Output = T>,
    (context, method, args): (ContextId, &str, Value),
) -> (T, u64) {
    let has_ended = std::cell::Cell::new(false);
    let slow = async {
        let result = slow.await;
        has_ended.set(true);
        result
    };
    let calling = async {
        let mut answered = 0;
        while !has_ended.get() {
            call(shard, context, method, args.clone()).await.unwrap();
            answered += u64::from(!has_ended.get());
        }
        answered
    };
    futures_util::future::join(slow, calling).await
}

#[test]
fn an_endless_query_ends_at_its_fuel_and_its_neighbours_go_on() {
    let data = tempfile::tempdir().unwrap();
    let node = TestNode::with_shards(1);
    node.run(data.path(), |shard| async move {
        let kv = install(&shard, "kv").await;
        let kv = create(&shard, kv, None).await.unwrap();
        let spin = install_spinner(&shard).await;
        let spin = create(&shard, spin, None).await.unwrap();
        let endless = call(&shard, spin, "spin", json!({}));
        let set = (kv, "set", json!({ "key": "k", "value": "v" }));
        let (spun, answered) = calls_beside(&shard, endless, set).await;
        assert!(matches!(spun, Err(CallError::Guest { .. })), "{spun:?}");
        assert!(answered > 10, "only {answered} updates ran beside the loop");
    });
}

#[test]
fn many_long_queries_of_one_context_leave_instances_to_the_others() {
    let data = tempfile::tempdir().unwrap();
    let node = TestNode {
        bounds: Bounds {
            context_queries_max: 2,
            ..Bounds::default()
        },
        limits: corelet_wasm_host::Limits {
            query_fuel_max: 50_000_000,
            ..Default::default()
        },
        instances_max: 4,
        ..TestNode::with_shards(1)
    };
    node.run(data.path(), |shard| async move {
        let kv = install(&shard, "kv").await;
        let kv = create(&shard, kv, None).await.unwrap();
        let spin = install_spinner(&shard).await;
        let spin = create(&shard, spin, None).await.unwrap();
        let endless = (0..20).map(|_| call(&shard, spin, "spin", json!({})));
        let endless = futures_util::future::join_all(endless);
        // It finds no instance warm when it comes first.
        let set = (kv, "set", json!({ "key": "k", "value": "v" }));
        let (spun, answered) = calls_beside(&shard, endless, set).await;
        for spun in spun {
            assert!(matches!(spun, Err(CallError::Guest { .. })), "{spun:?}");
        }
        assert!(
            answered > 10,
            "only {answered} updates ran beside the loops"
        );
    });
}

#[test]
fn calls_go_on_beside_an_init_that_takes_its_time() {
    let data = tempfile::tempdir().unwrap();
    let node = TestNode::with_shards(1);
    node.run(data.path(), |shard| async move {
        let kv = install(&shard, "kv").await;
        let kv = create(&shard, kv, None).await.unwrap();
        let spin = install_spinner(&shard).await;
        let slices = shard.stats().slices.get();
        let get = (kv, "get", json!({ "key": "k" }));
        let (made, answered) = calls_beside(&shard, create_slowly(&shard, spin), get).await;
        made.unwrap();
        assert!(shard.stats().slices.get() - slices > 10);
        assert!(answered > 10, "only {answered} calls ran beside the init");
    });
}

#[test]
fn an_application_is_not_removed_under_a_context_in_the_making() {
    let data = tempfile::tempdir().unwrap();
    let node = TestNode::with_shards(3);
    node.run(data.path(), |shard| async move {
        let mut refused = 0;
        for round in 0..12 {
            let spin = install_spinner(&shard).await;
            let making = create_slowly(&shard, spin);
            let removing = shard.remove_application(spin);
            let (made, removed) = if round % 2 == 0 {
                futures_util::future::join(making, removing).await
            } else {
                let (removed, made) = futures_util::future::join(removing, making).await;
                (made, removed)
            };
            match (made, removed) {
                (Ok(context), Err(CallError::ApplicationInUse { context: user, .. })) => {
                    assert_eq!(context, user);
                    refused += 1;
                    let info = shard.show_context(context).await.unwrap();
                    assert_eq!(info.application, spin);
                    shard.delete_context(context).await.unwrap();
                    shard.remove_application(spin).await.unwrap();
                }
                (
                    Err(
                        CallError::ApplicationClosed { .. } | CallError::ApplicationNotFound { .. },
                    ),
                    Ok(()),
                ) => {}
                other => panic!("both or none: {other:?}"),
            }
            assert!(shard.list_contexts(None, 10).await.unwrap().is_empty());
            let missing = create(&shard, spin, None).await;
            assert!(matches!(
                missing,
                Err(CallError::ApplicationNotFound { .. })
            ));
        }
        assert!(refused > 0, "no removal met a context in the making");
    });
}
