//! Contexts and warm instances take so much memory and no more: those that can go give way.

use corelet_shard::{Bounds, CallError};
use corelet_tests::{TestNode, made};
use serde_json::json;

use crate::{call, create, install};

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
