//! All shards of a node in this process, without HTTP: for tests of what lies
//! behind the front door.

#![expect(
    clippy::disallowed_types,
    reason = "handed over once, when the node has started"
)]

use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use corelet_shard::{Bounds, Cores, Node, NodeConfig, ShardHandle, WatchdogConfig};
use corelet_store::{DataDir, NodeId, OpenOptions, Sealer, ShardCount};
use corelet_wasm_host::{Host, HostConfig, Limits};
use ed25519_dalek::{Signer, SigningKey};

/// How to run a node in a test.
pub struct TestNode {
    /// How many shards a new data directory gets.
    pub shards: u16,
    /// The bounds of each shard.
    pub bounds: Bounds,
    /// The bounds of guests.
    pub limits: Limits,
    /// Instances of the whole node.
    pub instances_max: u32,
    /// What these may have of memory.
    pub instances_bytes_max: u64,
    /// Tests run beside each other on few cores, where a late beat is no news,
    /// so the default is patient.
    pub watchdog: WatchdogConfig,
    /// Whose key it has: nodes with the same contexts need one each.
    pub key: u8,
    /// Where the shards run: where there is room, unless it matters to the test.
    pub cores: Cores,
}

impl Default for TestNode {
    fn default() -> Self {
        TestNode {
            shards: 2,
            bounds: Bounds::default(),
            limits: Limits::default(),
            instances_max: 100,
            instances_bytes_max: u64::MAX,
            watchdog: WatchdogConfig {
                warn_after: Duration::from_secs(5),
                abort_after: Duration::from_secs(60),
            },
            key: 7,
            cores: Cores::Unpinned,
        }
    }
}

/// The key of a node, which seals what the node has made.
pub struct NodeKey(SigningKey);

impl NodeKey {
    /// That of a [`TestNode`] with this `key`.
    pub fn of(key: u8) -> NodeKey {
        NodeKey(SigningKey::from_bytes(&[key; 32]))
    }
}

impl Sealer for NodeKey {
    fn node_id(&self) -> NodeId {
        NodeId::from_bytes(self.0.verifying_key().to_bytes())
    }

    fn sign_delta(&self, message: &[u8]) -> [u8; 64] {
        let signed = [b"corelet/v1/delta\0", message].concat();
        self.0.sign(&signed).to_bytes()
    }
}

impl TestNode {
    /// One with so many shards, and all else by default.
    pub fn with_shards(shards: u16) -> TestNode {
        TestNode {
            shards,
            ..TestNode::default()
        }
    }

    /// Starts a node on `data`, runs `scenario` on its first shard and gives
    /// what it returns, once the node has stopped in good order.
    ///
    /// # Panics
    /// If the node cannot start, or the scenario panics.
    pub fn run<T, F>(
        &self,
        data: &Path,
        scenario: impl FnOnce(ShardHandle) -> F + Send + 'static,
    ) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
    {
        let (done, outcome) = mpsc::channel();
        let scenario = Arc::new(Mutex::new(Some((scenario, done))));
        let serve = move |shard: ShardHandle| {
            let mine = match shard.id().number() {
                0 => scenario.lock().expect("nobody panicked with it").take(),
                _ => None,
            };
            async move {
                match mine {
                    Some((scenario, done)) => {
                        let result = scenario(shard).await;
                        done.send(result).expect("the test waits");
                    }
                    None => shard.draining().await,
                }
            }
        };
        self.serve(data, serve, &outcome)
    }

    /// The same with a scenario on every shard; gives what they return, in no order.
    ///
    /// # Panics
    /// If the node cannot start, or a scenario panics.
    pub fn run_on_each<T, F>(
        &self,
        data: &Path,
        scenario: impl Fn(ShardHandle) -> F + Clone + Send + 'static,
    ) -> Vec<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
    {
        let (done, outcomes) = mpsc::channel();
        let (all_done, outcome) = mpsc::channel();
        let shards = usize::from(self.shards);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let all: Vec<T> = outcomes.iter().take(shards).collect();
                // Nobody waits if the node could not start.
                let _ = all_done.send(all);
            });
            let serve = move |shard: ShardHandle| {
                let (scenario, done) = (scenario.clone(), done.clone());
                async move {
                    let result = scenario(shard.clone()).await;
                    done.send(result).expect("the test waits");
                    // The others may still want something of this shard.
                    shard.draining().await;
                }
            };
            self.serve(data, serve, &outcome)
        })
    }

    /// Runs `serve` on every shard until there is an outcome.
    fn serve<T, F>(
        &self,
        data: &Path,
        serve: impl Fn(ShardHandle) -> F + Clone + Send + 'static,
        outcome: &mpsc::Receiver<T>,
    ) -> T
    where
        F: Future<Output = ()> + 'static,
    {
        let options = OpenOptions {
            shards_if_new: ShardCount::new(self.shards).expect("a node has at least one shard"),
            node_id_if_new: NodeKey::of(self.key).node_id(),
        };
        let data = DataDir::open(data, &options).expect("the data directory opens");
        let mut host = HostConfig::new(self.instances_max);
        host.limits = self.limits.clone();
        host.instances_bytes_max = self.instances_bytes_max;
        host.cache_dir = Some(data.cache_dir());
        let host = Arc::new(Host::new(host).expect("the host starts"));
        let config = NodeConfig {
            bounds: self.bounds.clone(),
            watchdog: self.watchdog.clone(),
            cores: self.cores.clone(),
            ..NodeConfig::default()
        };
        let node = Node::start(&data, host, data.manifest().node_id, &config, serve)
            .expect("the node starts");
        let result = outcome.recv();
        node.drainer().drain();
        node.join().expect("the node stops in good order");
        result.expect("the scenario ends without a panic")
    }
}
