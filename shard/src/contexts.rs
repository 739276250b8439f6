//! Making, showing, listing and deleting contexts, on the shard that owns
//! them, and the directory's changes, on its keeper. Calls are in `shard.rs`.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use corelet_store::{ApplicationId, Change, ContextId, Refused, ShardCount, ShardId};

use crate::directory::{check_name, durable_change};
use crate::error::CallError;
use crate::mesh::RECORDS_INFLIGHT_MAX;
use crate::message::{ContextInfo, DirectoryChange, NewContext, Request, Response};
use crate::shard::Shard;
use crate::turn::InitTurn;

/// Contexts looked through between two breaths when all have to be.
const PAGE: usize = 500;

/// Between two tries to give a name back.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// One of the changes of the directory that are in the making.
struct Recording<'a>(&'a Cell<usize>);

impl<'a> Recording<'a> {
    fn begin(count: &'a Cell<usize>) -> Result<Recording<'a>, CallError> {
        let used = count.get();
        if used >= RECORDS_INFLIGHT_MAX {
            return Err(CallError::Busy {
                limit: "records_inflight_max",
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

/// The shard that keeps the directory.
pub(crate) fn keeper(count: ShardCount) -> ShardId {
    ShardId::new(0, count).expect("every node has a shard 0")
}

impl Shard {
    /// Makes a context: its `init` runs, its name is taken, then both become
    /// durable. If any of it fails, nothing is left.
    pub(crate) async fn create_here(
        self: &Rc<Self>,
        id: ContextId,
        new: NewContext,
    ) -> Result<ContextInfo, CallError> {
        if let Some(name) = &new.name {
            check_name(name)?;
            if let Some(holder) = self.directory.name(name) {
                return Err(CallError::NameTaken {
                    name: name.clone(),
                    holder,
                });
            }
        }
        let module = self.module(new.application).await?;
        let (change, bytes) = self
            .init(InitTurn {
                id,
                name: new.name.clone(),
                application: new.application,
                module,
                args: new.args,
                caller: new.caller,
            })
            .await?;
        let name: Option<Arc<str>> = new.name.map(Arc::from);
        if let Some(name) = &name {
            self.record(DirectoryChange::PutName {
                name: Arc::clone(name),
                context: id,
            })
            .await?;
        }
        match self.commit(change, bytes).await {
            Ok(()) => self.show_here(id).await,
            Err(error) => {
                if let Some(name) = name
                    && let Err(second) = self.free_name(&name).await
                {
                    // It points nowhere, which the next start mends.
                    tracing::warn!(%name, error = %second, "a name could not be given back");
                }
                Err(error)
            }
        }
    }

    /// Deletes a context. Its entries are swept away later.
    pub(crate) async fn delete_here(self: &Rc<Self>, id: ContextId) -> Result<(), CallError> {
        let not_found = || CallError::ContextNotFound {
            context: id.to_string(),
        };
        let record = self
            .snapshots
            .latest()
            .context(&id)?
            .ok_or_else(not_found)?;
        self.commit(Change::DeleteContext(id), 0).await?;
        let live = self.contexts.borrow_mut().remove(&id);
        if let Some(context) = live {
            context.deleted.set(true);
            self.drop_warm(&context);
        }
        if let Some(name) = record.name {
            self.free_name(&Arc::from(name)).await?;
        }
        Ok(())
    }

    pub(crate) async fn show_here(&self, id: ContextId) -> Result<ContextInfo, CallError> {
        if self.live(id).is_some_and(|context| !context.is_shown()) {
            self.commits.show().await?;
        }
        self.read_info(id)
    }

    fn read_info(&self, id: ContextId) -> Result<ContextInfo, CallError> {
        let snapshot = self.snapshots.latest();
        let record = snapshot
            .context(&id)?
            .ok_or_else(|| CallError::ContextNotFound {
                context: id.to_string(),
            })?;
        let head = snapshot.head(record.slot)?;
        Ok(ContextInfo {
            id,
            name: record.name,
            application: record.application,
            created: record.created,
            version: head.version,
            root: head.root,
            entries: head.entries,
            bytes: head.bytes,
            shard: self.id,
        })
    }

    /// Up to `limit` contexts of this shard with ids behind `after`.
    pub(crate) async fn list_here(
        &self,
        after: Option<ContextId>,
        limit: usize,
    ) -> Result<Vec<ContextInfo>, CallError> {
        self.commits.show().await?;
        let records = self.snapshots.latest().contexts(after, limit)?;
        records
            .iter()
            .map(|record| self.read_info(record.id))
            .collect()
    }

    /// One of this shard's contexts that runs an application.
    pub(crate) async fn find_user_here(
        &self,
        application: ApplicationId,
    ) -> Result<Option<ContextId>, CallError> {
        let mut after = None;
        loop {
            let page = self.snapshots.latest().contexts(after, PAGE)?;
            if let Some(user) = page.iter().find(|record| record.application == application) {
                return Ok(Some(user.id));
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.id),
                _ => return Ok(None),
            }
            crate::rt::breathe().await;
        }
    }

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
        self.commit(durable_change(&change), 0).await?;
        self.directory.learn(change.clone());
        for shard in self.count.shards().filter(|shard| *shard != self.id) {
            self.mesh.ask(shard, Request::Learn(change.clone())).await?;
        }
        Ok(())
    }

    /// Gives a name back, which must not fail because others are quicker.
    async fn free_name(self: &Rc<Self>, name: &Arc<str>) -> Result<(), CallError> {
        loop {
            let change = DirectoryChange::RemoveName {
                name: Arc::clone(name),
            };
            match self.record(change).await {
                Err(CallError::Busy { .. }) => crate::rt::sleep(BUSY_PAUSE).await,
                other => return other,
            }
        }
    }

    async fn commit(&self, change: Change, bytes: u64) -> Result<(), CallError> {
        let receipt = self.commits.submit(change, bytes, None)?;
        match receipt
            .await
            .ok_or_else(|| CallError::bug("a change was forgotten"))?
        {
            Ok(_) => Ok(()),
            Err(CallError::Uncommitted(refused)) => Err(match &*refused {
                Refused::NameTaken { name, holder } => CallError::NameTaken {
                    name: name.clone(),
                    holder: *holder,
                },
                Refused::UnknownContext { context } => CallError::ContextNotFound {
                    context: context.to_string(),
                },
                _ => CallError::Uncommitted(refused),
            }),
            Err(error) => Err(error),
        }
    }
}
