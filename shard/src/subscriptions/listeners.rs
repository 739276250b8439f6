//! Which shards have contexts that listen to those of this one, and what they are told: that there is
//! something new. Owned by the shard of the contexts whose events they are.
//!
//! Nothing of it is on the disk. A shard listens from when it has first asked (`source.rs`), which it does
//! for all of its subscriptions when it starts; it is told of what becomes durable behind what it was
//! given. Several events, and several contexts, are one word, and a shard gets the next one when
//! it has taken the one before.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::rc::Rc;
use std::task::{Poll, Waker};

use corelet_store::{ContextId, ShardId};

use crate::error::CallError;
use crate::message::{Request, Response};
use crate::shard::Shard;

/// Contexts of a shard that somebody listens to. Those who listen to one more ask now and then.
const SOURCES_MAX: usize = 100_000;

/// Contexts that one word is of.
const WORD_MAX: usize = 1_000;

/// Which shards listen to the contexts of this one.
#[derive(Default)]
pub(crate) struct Listeners {
    /// By context, and when each has last said so.
    shards: RefCell<HashMap<ContextId, Vec<(ShardId, u64)>>>,
    /// What is to be told to whom: the contexts of which there are new events.
    news: RefCell<BTreeMap<ShardId, BTreeSet<ContextId>>>,
    /// Counts what is said, so that the order of it is known.
    said: Cell<u64>,
    /// Who was told last.
    last: Cell<Option<ShardId>>,
    task: RefCell<Option<Waker>>,
}

/// A word to a shard.
struct News {
    to: ShardId,
    sources: Vec<ContextId>,
    /// What was said when it was put together.
    said: u64,
}

impl Listeners {
    /// There are new events of a context, which are durable.
    pub(crate) fn told(&self, source: ContextId) {
        let shards = self.shards.borrow();
        // Most often nobody listens to anything.
        if shards.is_empty() {
            return;
        }
        let Some(shards) = shards.get(&source) else {
            return;
        };
        let mut news = self.news.borrow_mut();
        for (shard, _) in shards {
            news.entry(*shard).or_default().insert(source);
        }
        if let Some(task) = self.task.borrow_mut().take() {
            task.wake();
        }
    }

    /// A context is gone: that is the last that is told of it.
    pub(crate) fn gone(&self, source: ContextId) {
        self.told(source);
        self.shards.borrow_mut().remove(&source);
    }

    /// A shard listens to a context from now on, if there is room for that.
    pub(super) fn listen(&self, source: ContextId, shard: ShardId) -> bool {
        let said = self.said.get() + 1;
        self.said.set(said);
        let mut shards = self.shards.borrow_mut();
        if shards.len() >= SOURCES_MAX && !shards.contains_key(&source) {
            return false;
        }
        let those = shards.entry(source).or_default();
        match those.iter_mut().find(|(it, _)| *it == shard) {
            Some((_, last)) => *last = said,
            None => those.push((shard, said)),
        }
        true
    }

    /// A shard has nobody who listens to a context, unless it has said otherwise since `said`.
    fn forget(&self, source: ContextId, shard: ShardId, said: u64) {
        let mut shards = self.shards.borrow_mut();
        if let Some(those) = shards.get_mut(&source) {
            those.retain(|(it, last)| *it != shard || *last > said);
            if those.is_empty() {
                shards.remove(&source);
            }
        }
    }

    /// The next word.
    async fn next(&self) -> News {
        std::future::poll_fn(|cx| match self.take_news() {
            Some(news) => Poll::Ready(news),
            None => {
                self.task.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }

    fn take_news(&self) -> Option<News> {
        let mut news = self.news.borrow_mut();
        // In turns, or a shard for which there is always something would keep the others out.
        let last = self.last.get().map_or(Bound::Unbounded, Bound::Excluded);
        let next = news.range((last, Bound::Unbounded)).next();
        let to = *next.or_else(|| news.first_key_value())?.0;
        self.last.set(Some(to));
        let mut sources = news.remove(&to)?;
        if let Some(next) = sources.iter().nth(WORD_MAX).copied() {
            news.insert(to, sources.split_off(&next));
        }
        Some(News {
            to,
            sources: sources.into_iter().collect(),
            said: self.said.get(),
        })
    }
}

impl Shard {
    /// Tells other shards what there is new of the contexts of this one, until the node begins to
    /// stop.
    pub(crate) async fn run_news(self: Rc<Self>, draining: impl Future<Output = ()>) {
        let work = async {
            loop {
                let news = self.commits.listeners().next().await;
                self.tell_news(news).await;
            }
        };
        futures_lite::future::or(draining, work).await;
    }

    async fn tell_news(self: &Rc<Self>, news: News) {
        let News { to, sources, said } = news;
        let unheard = if to == self.id {
            Ok(self.hear_of_here(sources).await)
        } else {
            match self.mesh.ask(to, Request::HearOf { sources }).await {
                Ok(Response::HearOf { unheard }) => Ok(unheard),
                Ok(_) => Err(CallError::bug("a shard answered another question")),
                Err(error) => Err(error),
            }
        };
        match unheard {
            Ok(unheard) => {
                let listeners = self.commits.listeners();
                let forget = |source| listeners.forget(source, to, said);
                unheard.into_iter().for_each(forget);
            }
            Err(error) => {
                tracing::error!(shard = self.id.number(), %error, "another shard could not be told of new events; who listens to those is told with the next ones");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use corelet_store::ShardCount;

    use super::*;
    use crate::fixture::{self, Bench, Disk};

    fn shard(n: u16) -> ShardId {
        ShardId::new(n, ShardCount::new(2).unwrap()).unwrap()
    }

    #[test]
    fn whoever_listens_is_told_of_what_becomes_durable_until_nobody_does() {
        let disk = Disk::new();
        let slot = disk.create(1);
        let bench = Bench::new(disk);
        let listeners = bench.shard.commits.listeners();
        let news = || {
            let news = listeners.take_news()?;
            Some((news.to.number(), news.sources, news.said))
        };
        bench.tell(slot, 2, &[("said", "1")]);
        bench.commit();
        assert_eq!(news(), None, "nobody listens");
        for by in [0, 1, 0] {
            assert!(listeners.listen(fixture::id(1), shard(by)));
        }
        bench.tell(slot, 3, &[("said", "2")]);
        bench.tell(slot, 4, &[("said", "3")]);
        assert_eq!(news(), None, "it may be lost yet");
        bench.commit();
        let one = || vec![fixture::id(1)];
        assert_eq!(news(), Some((0, one(), 3)));
        assert_eq!(news(), Some((1, one(), 3)));
        assert_eq!(news(), None);
        // One that has asked again since it was told listens.
        listeners.listen(fixture::id(1), shard(0));
        listeners.forget(fixture::id(1), shard(0), 3);
        listeners.forget(fixture::id(1), shard(1), 3);
        listeners.told(fixture::id(1));
        assert_eq!(news(), Some((0, one(), 4)));
        listeners.gone(fixture::id(1));
        assert_eq!(news(), Some((0, one(), 4)));
        listeners.told(fixture::id(1));
        assert_eq!(news(), None);
        assert!(listeners.shards.borrow().is_empty());
    }
}
