//! Asking commit threads for snapshots that show all that is durable by then, and telling them
//! what was found damaged in one. For threads that may wait, and never for a shard: see
//! `copies.rs` and `blobs/`.

use std::sync::Arc;
use std::time::Duration;

use corelet_store::{ContextId, ShardCount, ShardId, Snapshot, StoreError};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use crate::error::CallError;

/// Asks that wait at one commit thread; who comes with one more waits.
const ASKS_MAX: usize = 4;

/// After so long without an answer it is looked whether anybody is there.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asked of a commit thread.
pub(crate) enum Ask {
    /// Nothing: whether it can be sent says whether anybody is there.
    Nothing,
    /// To show all that is durable.
    Snapshot(Sender<Result<Snapshot, StoreError>>),
    /// To take a context out of service, of which a record is damaged, and say whether it is.
    PutOutOfService {
        context: ContextId,
        error: StoreError,
        is_out: Sender<bool>,
    },
}

/// Places for asks at each commit thread.
pub(crate) fn asks() -> (Sender<Ask>, Receiver<Ask>) {
    bounded(ASKS_MAX)
}

/// The way to all commit threads.
#[derive(Clone)]
pub(crate) struct CommitThreads {
    count: ShardCount,
    asks: Arc<[Sender<Ask>]>,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAnswered {
    #[error("the server is stopping")]
    Stopping,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<NotAnswered> for CallError {
    fn from(error: NotAnswered) -> Self {
        match error {
            NotAnswered::Store(error) => error.into(),
            NotAnswered::Stopping => CallError::Draining,
        }
    }
}

impl CommitThreads {
    pub(crate) fn new(count: ShardCount, asks: Vec<Sender<Ask>>) -> CommitThreads {
        CommitThreads {
            count,
            asks: asks.into(),
        }
    }

    /// What is durable on the shard of a context by now, all of it.
    pub(crate) fn snapshot_of(&self, context: &ContextId) -> Result<Snapshot, NotAnswered> {
        self.snapshot(ShardId::of(context, self.count))
    }

    /// What is durable on each shard, in order. The first one is asked last: it keeps the
    /// names, and a name is there before its context is.
    pub(crate) fn snapshots(&self) -> Result<Vec<Snapshot>, NotAnswered> {
        let mut snapshots = Vec::new();
        for shard in self.count.shards().collect::<Vec<_>>().into_iter().rev() {
            snapshots.push(self.snapshot(shard)?);
        }
        snapshots.reverse();
        Ok(snapshots)
    }

    /// Every shard.
    pub(crate) fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        self.count.shards()
    }

    /// What is durable on one shard by now.
    pub(crate) fn snapshot(&self, shard: ShardId) -> Result<Snapshot, NotAnswered> {
        let (answer, snapshot) = bounded(1);
        self.ask(shard, Ask::Snapshot(answer))?;
        Ok(self.answer(shard, &snapshot)??)
    }

    /// Has a context taken out of service, a record of which is damaged. Says whether it is: it
    /// may have been deleted meanwhile, or the disk be full.
    pub(crate) fn put_out_of_service(
        &self,
        context: ContextId,
        error: StoreError,
    ) -> Result<bool, NotAnswered> {
        let (is_out, done) = bounded(1);
        let shard = ShardId::of(&context, self.count);
        let ask = Ask::PutOutOfService {
            context,
            error,
            is_out,
        };
        self.ask(shard, ask)?;
        self.answer(shard, &done)
    }

    /// Waits for an answer. What is asked of a thread that ends at that moment lies in its queue for
    /// good, and with it the way on which the answer would come.
    fn answer<T>(&self, shard: ShardId, answer: &Receiver<T>) -> Result<T, NotAnswered> {
        loop {
            match answer.recv_timeout(PATIENCE) {
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Disconnected) => return Err(NotAnswered::Stopping),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let asks = self.asks.get(usize::from(shard.number()));
            let asked = asks.map(|asks| asks.try_send(Ask::Nothing));
            if matches!(asked, None | Some(Err(TrySendError::Disconnected(_)))) {
                return Err(NotAnswered::Stopping);
            }
        }
    }

    fn ask(&self, shard: ShardId, ask: Ask) -> Result<(), NotAnswered> {
        let asks = self.asks.get(usize::from(shard.number()));
        let asked = asks.and_then(|asks| asks.send(ask).ok());
        asked.ok_or(NotAnswered::Stopping)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn who_asks_a_thread_that_ends_without_looking_is_told() {
        let (ask, asks) = asks();
        let threads = CommitThreads::new(ShardCount::new(1).unwrap(), vec![ask]);
        let other = threads.clone();
        let shard = threads.shards().next().unwrap();
        let waits = thread::Builder::new().name("asks".into());
        let waits = waits
            .spawn(move || other.snapshot(shard).map(drop))
            .unwrap();
        while asks.is_empty() {
            thread::yield_now();
        }
        drop(asks);
        let answered = waits.join().unwrap();
        assert!(matches!(answered, Err(NotAnswered::Stopping)));
        assert!(matches!(
            threads.snapshot(shard).map(drop),
            Err(NotAnswered::Stopping)
        ));
    }
}
