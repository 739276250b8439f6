//! Answers to queries, kept until the state that they were read from has changed.
//!
//! Only of queries that have cost more than keeping them does, and whose guest has asked for
//! nothing that differs from call to call: neither the time nor random bytes nor another context,
//! nor has it logged anything. One whose guest has asked who calls is repeated to that caller alone.
//! What was used last stays, within a bound on bytes over all contexts of the shard; all of
//! it can be made again. Owned by the shard.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use corelet_store::{ContextId, RequestDigest};
use hashlink::LruCache;

use crate::bounds::Bounds;
use crate::message::Reply;
use crate::stats::ShardStats;

/// What an answer takes beside its text, about.
const AROUND_BYTES: u64 = 256;

/// An answer of which a query may be told again what it was told, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Repeatable {
    /// The version of the state that was read.
    pub(crate) version: u64,
    /// Whether the answer may depend on who has asked.
    pub(crate) has_asked_caller: bool,
    /// Whether another turn may have left something in the memory of the instance that answered.
    pub(crate) is_of_used: bool,
}

/// A query of a context.
type Asked = (ContextId, RequestDigest);

struct Kept {
    version: u64,
    /// For whom alone it is.
    caller: Option<Arc<str>>,
    /// Whether it may tell of what another call has left in an instance's memory.
    is_of_used: bool,
    reply: Reply,
}

impl Kept {
    fn bytes(&self) -> u64 {
        self.reply.output.len() as u64 + AROUND_BYTES
    }
}

/// The answers of one shard. A gauge has what they take, which nobody else writes.
pub(crate) struct QueryCache {
    kept: RefCell<LruCache<Asked, Kept>>,
    /// How many there are of each context that has any: with none, nothing is looked for.
    contexts: RefCell<HashMap<ContextId, u32>>,
    bytes_max: u64,
    fuel_min: u64,
    stats: Arc<ShardStats>,
}

impl QueryCache {
    pub(crate) fn new(bounds: &Bounds, stats: &Arc<ShardStats>) -> QueryCache {
        QueryCache {
            kept: RefCell::new(LruCache::new_unbounded()),
            contexts: RefCell::default(),
            bytes_max: bounds.query_cache_bytes_max,
            fuel_min: bounds.query_cache_fuel_min,
            stats: Arc::clone(stats),
        }
    }

    /// Whether anything is ever kept.
    pub(crate) fn is_used(&self) -> bool {
        self.bytes_max > 0
    }

    /// What this query was told when the state had the same version. Where instances serve
    /// `once`, what an instance has answered that had served before is as good as none: so the
    /// setting holds from the moment that it is made, and nothing has to be looked through.
    pub(crate) fn find(
        &self,
        context: ContextId,
        version: u64,
        (method, args): (&[u8], &[u8]),
        caller: &str,
        once: bool,
    ) -> Option<Reply> {
        if !self.contexts.borrow().contains_key(&context) {
            return None;
        }
        let asked = (context, RequestDigest::of(method, args));
        let (found, is_old) = match self.kept.borrow_mut().get(&asked) {
            None => (None, false),
            Some(kept) if kept.version != version || (once && kept.is_of_used) => (None, true),
            Some(kept) => {
                let is_for = |whom: &Arc<str>| &**whom == caller;
                let is_ours = kept.caller.as_ref().is_none_or(is_for);
                (is_ours.then(|| kept.reply.clone()), false)
            }
        };
        if is_old {
            self.drop_one(&asked);
        }
        match found {
            Some(_) => self.stats.query_cache_hits.one(),
            None => self.stats.query_cache_misses.one(),
        }
        found
    }

    /// Keeps what a query was told, if that is worth it.
    pub(crate) fn keep(
        &self,
        context: ContextId,
        (method, args): (&[u8], &[u8]),
        caller: Arc<str>,
        repeatable: Repeatable,
        reply: &Reply,
    ) {
        let Repeatable {
            version,
            has_asked_caller,
            is_of_used,
        } = repeatable;
        let kept = Kept {
            version,
            caller: has_asked_caller.then_some(caller),
            is_of_used,
            reply: reply.clone(),
        };
        // An eighth, so that no single answer clears the others out.
        if reply.fuel_used < self.fuel_min || kept.bytes() > self.bytes_max / 8 {
            return;
        }
        let asked = (context, RequestDigest::of(method, args));
        let is_late = |there: &Kept| there.version > version;
        if self.kept.borrow().peek(&asked).is_some_and(is_late) {
            return;
        }
        self.drop_one(&asked);
        while self.stats.query_cache_bytes.get() + kept.bytes() > self.bytes_max {
            let Some((oldest, gone)) = self.kept.borrow_mut().remove_lru() else {
                break;
            };
            self.stats.query_cache_evictions.one();
            self.forget(oldest.0, &gone);
        }
        let bytes = self.stats.query_cache_bytes.get() + kept.bytes();
        self.stats.query_cache_bytes.set(bytes);
        *self.contexts.borrow_mut().entry(context).or_default() += 1;
        self.kept.borrow_mut().insert(asked, kept);
    }

    fn drop_one(&self, asked: &Asked) {
        let gone = self.kept.borrow_mut().remove(asked);
        if let Some(gone) = gone {
            self.forget(asked.0, &gone);
        }
    }

    fn forget(&self, context: ContextId, gone: &Kept) {
        let bytes = self.stats.query_cache_bytes.get() - gone.bytes();
        self.stats.query_cache_bytes.set(bytes);
        let mut contexts = self.contexts.borrow_mut();
        if let Some(count) = contexts.get_mut(&context) {
            *count -= 1;
            if *count == 0 {
                contexts.remove(&context);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use corelet_store::Root;

    use super::*;

    struct Bench {
        cache: QueryCache,
        stats: Arc<ShardStats>,
    }

    const ANYONE: Repeatable = Repeatable {
        version: 1,
        has_asked_caller: false,
        is_of_used: false,
    };

    impl Bench {
        fn new(bytes_max: u64) -> Bench {
            let stats = Arc::default();
            let bounds = Bounds {
                query_cache_bytes_max: bytes_max,
                query_cache_fuel_min: 100,
                ..Bounds::default()
            };
            let cache = QueryCache::new(&bounds, &stats);
            Bench { cache, stats }
        }

        fn keep(&self, context: u8, args: &str, repeatable: Repeatable, fuel_used: u64) {
            let reply = Reply {
                output: Bytes::copy_from_slice(args.as_bytes()),
                delta_id: None,
                root: Root::EMPTY,
                fuel_used,
            };
            let asked = (&b"method"[..], args.as_bytes());
            let context = ContextId::from_bytes([context; 32]);
            self.cache
                .keep(context, asked, Arc::from("alice"), repeatable, &reply);
        }

        fn find(&self, context: u8, version: u64, args: &str, caller: &str) -> bool {
            let asked = (&b"method"[..], args.as_bytes());
            let context = ContextId::from_bytes([context; 32]);
            let found = self.cache.find(context, version, asked, caller, false);
            assert!(found.iter().all(|reply| reply.output == args.as_bytes()));
            found.is_some()
        }

        fn is_empty(&self) -> bool {
            let is_counted = self.stats.query_cache_bytes.get() > 0;
            let is_empty = self.cache.kept.borrow().is_empty();
            assert_eq!(is_empty, !is_counted);
            assert_eq!(is_empty, self.cache.contexts.borrow().is_empty());
            is_empty
        }
    }

    #[test]
    fn an_answer_is_repeated_until_the_state_changes() {
        let bench = Bench::new(1 << 20);
        bench.keep(1, "a", ANYONE, 100);
        assert!(bench.find(1, 1, "a", "alice") && bench.find(1, 1, "a", "bob"));
        assert!(!bench.find(1, 1, "b", "alice"), "other arguments");
        assert!(!bench.find(2, 1, "a", "alice"), "another context");
        assert!(!bench.find(1, 2, "a", "alice"), "another state");
        assert!(bench.is_empty(), "what is old goes when it is met");
        let counts = [
            &bench.stats.query_cache_hits,
            &bench.stats.query_cache_misses,
        ];
        assert_eq!(counts.map(|count| count.get()), [2, 2]);
    }

    #[test]
    fn what_asks_who_calls_is_for_that_caller_alone() {
        let bench = Bench::new(1 << 20);
        let of_alice = Repeatable {
            has_asked_caller: true,
            ..ANYONE
        };
        bench.keep(1, "a", of_alice, 100);
        assert!(bench.find(1, 1, "a", "alice") && !bench.find(1, 1, "a", "bob"));
    }

    #[test]
    fn what_an_instance_has_answered_that_had_served_before_is_none_where_each_serves_once() {
        let bench = Bench::new(1 << 20);
        let of_used = Repeatable {
            is_of_used: true,
            ..ANYONE
        };
        bench.keep(1, "a", of_used, 100);
        bench.keep(1, "b", ANYONE, 100);
        assert!(bench.find(1, 1, "a", "alice") && bench.find(1, 1, "b", "alice"));
        let context = ContextId::from_bytes([1; 32]);
        let once = |args: &[u8]| {
            let asked = (&b"method"[..], args);
            bench.cache.find(context, 1, asked, "alice", true).is_some()
        };
        assert!(once(b"b") && !once(b"a"));
        assert!(!bench.find(1, 1, "a", "alice"), "it goes when it is met");
    }

    #[test]
    fn what_is_cheap_or_large_is_not_kept() {
        let bench = Bench::new(8 * 1_000);
        bench.keep(1, "a", ANYONE, 99);
        bench.keep(1, &"b".repeat(745), ANYONE, 100);
        assert!(bench.is_empty());
        bench.keep(1, &"b".repeat(744), ANYONE, 100);
        assert!(!bench.is_empty());
    }

    #[test]
    fn what_was_used_last_stays_within_the_bytes() {
        // Room for ten.
        let bench = Bench::new(10 * (AROUND_BYTES + 1));
        let names: Vec<String> = ('a'..'m').map(String::from).collect();
        for (context, name) in names.iter().enumerate() {
            bench.keep(context as u8, name, ANYONE, 100);
            assert!(bench.find(0, 1, "a", "alice"), "used again and again");
        }
        let there = |(context, name): (usize, &String)| bench.find(context as u8, 1, name, "alice");
        let found: Vec<bool> = names.iter().enumerate().map(there).collect();
        assert_eq!(found.iter().filter(|is_there| **is_there).count(), 10);
        assert_eq!(found[..4], [true, false, false, true]);
        assert_eq!(bench.stats.query_cache_evictions.get(), 2);
        // Again, and not one more.
        bench.keep(0, "a", ANYONE, 100);
        assert_eq!(bench.stats.query_cache_evictions.get(), 2);
    }
}
