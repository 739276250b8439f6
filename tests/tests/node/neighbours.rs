//! What takes its time leaves the calls beside it theirs.

use bytes::Bytes;
use corelet_shard::{Bounds, CallError, NewContext, ShardHandle};
use corelet_store::{ApplicationId, ContextId};
use corelet_tests::{TestNode, spinner};
use serde_json::{Value, json};

use crate::{call, caller, create, install};

/// A context whose `init` takes some 30 slices.
pub(super) async fn create_slowly(
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

pub(super) async fn install_spinner(shard: &ShardHandle) -> ApplicationId {
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
