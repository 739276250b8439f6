//! Applications are loaded once for all who wait, and none goes that a context runs.

use corelet_shard::{Bounds, CallError};
use corelet_tests::TestNode;
use serde_json::json;

use crate::neighbours::{create_slowly, install_spinner};
use crate::{call, create, install};

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
