//! Changes of the directory: asked for by any shard, made durable by its keeper, one behind the
//! other for each name and application, and then known to all shards. What is changed of
//! applications is in `applications.rs`, what there is in `directory.rs`.
//!
//! Each shard has the part of it that is its own.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use corelet_store::{ApplicationId, ApplicationRecord, ContextId, Reuse, ShardCount, ShardId};

use crate::context::Context;
use crate::directory::durable_change;
use crate::error::CallError;
use crate::mesh::RECORDS_INFLIGHT_MAX;
use crate::message::{DirectoryChange, Request, Response};
use crate::shard::Shard;

/// Contexts whose warm instances go between two breaths.
const DROPPED_AT_ONCE: usize = 8;

/// Between two tries of what must not fail because others are quicker.
pub(crate) const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// The shard that keeps the directory.
pub(crate) fn keeper(count: ShardCount) -> ShardId {
    ShardId::new(0, count).expect("every node has a shard 0")
}

/// One of the changes of the directory that are in the making.
struct Recording<'a>(&'a Cell<usize>);

impl<'a> Recording<'a> {
    fn begin(count: &'a Cell<usize>) -> Result<Recording<'a>, CallError> {
        let used = count.get();
        if used >= RECORDS_INFLIGHT_MAX {
            return Err(CallError::Busy {
                limit: "changes of names and applications under way",
                used: used as u64,
                max: RECORDS_INFLIGHT_MAX as u64,
            });
        }
        count.set(used + 1);
        Ok(Recording(count))
    }
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// An application that is about to be installed, and has its place already.
struct Installing<'a> {
    shard: &'a Shard,
    id: ApplicationId,
}

impl<'a> Installing<'a> {
    fn begin(
        shard: &'a Shard,
        record: &Arc<ApplicationRecord>,
    ) -> Result<Installing<'a>, CallError> {
        let id = record.id;
        let is_new = |id: &ApplicationId| shard.directory.application(id).is_none();
        let mut installing = shard.installing.borrow_mut();
        let coming = installing.keys().filter(|id| is_new(id)).count();
        let used = shard.directory.applications_count() + coming;
        let max = shard.bounds.applications_max;
        if used >= max && is_new(&id) && !installing.contains_key(&id) {
            return Err(CallError::ApplicationsFull {
                used: used as u64,
                max: max as u64,
            });
        }
        let coming = installing.entry(id);
        let (count, newest) = coming.or_insert_with(|| (0, Arc::clone(record)));
        (*count, *newest) = (*count + 1, Arc::clone(record));
        Ok(Installing { shard, id })
    }
}

impl Drop for Installing<'_> {
    fn drop(&mut self) {
        let mut installing = self.shard.installing.borrow_mut();
        if let Some((count, _)) = installing.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                installing.remove(&self.id);
            }
        }
    }
}

impl Shard {
    /// Has the keeper change the directory, durably and everywhere.
    pub(crate) async fn record(self: &Rc<Self>, change: DirectoryChange) -> Result<(), CallError> {
        let keeper = keeper(self.count);
        if keeper == self.id {
            return self.record_here(change).await;
        }
        match self.mesh.ask(keeper, Request::Record(change)).await? {
            Response::Record(result) => result,
            _ => Err(CallError::bug("the keeper answered another question")),
        }
    }

    /// The keeper's part: durable first, then known to every shard.
    pub(crate) async fn record_here(
        self: &Rc<Self>,
        change: DirectoryChange,
    ) -> Result<(), CallError> {
        let _place = Recording::begin(&self.recording)?;
        let _application = match &change {
            DirectoryChange::PutApplication(record) => Some(Installing::begin(self, record)?),
            _ => None,
        };
        self.commit(durable_change(&change)).await?;
        self.learn(change.clone()).await;
        for shard in self.count.shards().filter(|shard| *shard != self.id) {
            let change = self.newest(&change);
            self.mesh.ask(shard, Request::Learn(change)).await?;
        }
        Ok(())
    }

    /// Of an application its record as it is now: a shard that hears of two changes of it, in
    /// whatever order, ends with the last.
    fn newest(&self, change: &DirectoryChange) -> DirectoryChange {
        let newest = match change {
            DirectoryChange::PutApplication(record) => self.directory.application(&record.id),
            _ => None,
        };
        newest.map_or_else(|| change.clone(), DirectoryChange::PutApplication)
    }

    /// Takes a change of the directory in. Of an application whose instances serve one call
    /// alone none stays warm. No call gets one of them from the start (`turn.rs`), so there is
    /// time to drop them: many at once would hold all others up.
    pub(crate) async fn learn(&self, change: DirectoryChange) {
        let once = match &change {
            DirectoryChange::PutApplication(record) if record.reuse == Reuse::Never => {
                Some(record.id)
            }
            _ => None,
        };
        self.directory.learn(change);
        let Some(application) = once else { return };
        let is_of = |context: &Context| context.code().application == application;
        let warm = self.warm.all(is_of);
        for some in warm.chunks(DROPPED_AT_ONCE) {
            for context in some {
                if context.code().reuse.get() == Reuse::Never {
                    self.drop_warm(context);
                }
            }
            crate::rt::breathe().await;
        }
    }

    /// Gives back a context's name, which must not fail because others are quicker. One that
    /// is another's by now stays.
    pub(crate) async fn free_name(
        self: &Rc<Self>,
        name: &Arc<str>,
        context: ContextId,
    ) -> Result<(), CallError> {
        loop {
            let change = DirectoryChange::RemoveName {
                name: Arc::clone(name),
                context,
            };
            match self.record(change).await {
                Err(CallError::Busy { .. }) => crate::rt::sleep(BUSY_PAUSE).await,
                other => return other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use futures_lite::future::{block_on, poll_once};

    use super::*;
    use crate::bounds::Bounds;
    use crate::fixture::{Bench, Disk};

    /// Of two that come at the same time to the last place one gets it.
    #[test]
    fn applications_in_the_making_have_their_places() {
        let bounds = Bounds {
            applications_max: 2,
            ..Bounds::default()
        };
        // It has one already.
        let bench = Bench::bounded(Disk::new(), bounds);
        let shard = &bench.shard;
        let put = |n| {
            let id = ApplicationId::from_bytes([n; 32]);
            let mut record = shard.directory.applications()[0].as_ref().clone();
            record.id = id;
            let put = DirectoryChange::PutApplication(Arc::new(record));
            Box::pin(shard.record_here(put))
        };
        let full = |recording: &mut Pin<Box<_>>| match block_on(poll_once(recording)) {
            Some(Err(CallError::ApplicationsFull { used, max })) => Some((used, max)),
            Some(_) => panic!("nobody has committed it"),
            None => None,
        };
        let (mut first, mut again) = (put(7), put(7));
        assert_eq!(full(&mut first), None);
        assert_eq!(full(&mut again), None, "it takes no second place");
        assert_eq!(full(&mut put(8)), Some((2, 2)));
        bench.commit();
        // Durable, and not yet known to the other shard.
        assert_eq!(full(&mut first), None);
        assert_eq!(shard.directory.applications_count(), 2);
        drop((first, again));
        assert_eq!(full(&mut put(8)), Some((2, 2)));
        assert_eq!(full(&mut put(7)), None, "it is installed");
        shard.directory.learn(DirectoryChange::RemoveApplication(
            ApplicationId::from_bytes([7; 32]),
        ));
        // Nor does one that was given up keep a place.
        assert_eq!(full(&mut put(8)), None);
        assert_eq!(full(&mut put(9)), None);
    }
}
