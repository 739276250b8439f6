//! What an application keeps in its memory between calls is never what has not become durable.

use corelet_shard::{Bounds, CallError, ShardHandle};
use corelet_store::ContextId;
use corelet_tests::{TestNode, caching};
use serde_json::{Value, json};

use crate::{call, create};

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
