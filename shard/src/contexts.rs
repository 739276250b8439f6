//! Making and deleting contexts, on the shard that owns them, and how a change that is no call's
//! becomes durable. What is told of contexts is in `contexts/shown.rs`, the directory's
//! changes are in `recording.rs`, and calls in `shard.rs`.

mod shown;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corelet_store::{
    ApplicationId, BlobHold, Change, Committed, ContextId, ContextSlot, Refused, Standing,
    StoreError,
};
use corelet_wasm_host::{Failure, StateError};

use crate::agenda::Agenda;
use crate::context::{Code, Context};
use crate::directory::check_name;
use crate::error::CallError;
use crate::guest_log::TurnLog;
use crate::message::{ContextInfo, DirectoryChange, NewContext};
use crate::shard::Shard;
use crate::statistics::Row;
use crate::turn::{Begin, Durable, MadeByInit, What};

/// As a turn would have failed with it.
pub(crate) fn failure_of(error: StateError) -> Failure {
    match error {
        StateError::Store(source) => Failure::State(source),
        StateError::Misused(message) => Failure::Misused { message },
        StateError::Busy { limit, used, max } => Failure::Busy { limit, used, max },
    }
}

/// A context in the making, or one that is about to get another application: whoever wants to
/// remove that sees it.
pub(crate) struct Creating<'a> {
    shard: &'a Shard,
    coming: (ContextId, ApplicationId),
}

impl<'a> Creating<'a> {
    pub(crate) fn begin(
        shard: &'a Shard,
        id: ContextId,
        application: ApplicationId,
    ) -> Creating<'a> {
        let coming = (id, application);
        *shard.creating.borrow_mut().entry(coming).or_default() += 1;
        Creating { shard, coming }
    }
}

impl Drop for Creating<'_> {
    fn drop(&mut self) {
        let mut creating = self.shard.creating.borrow_mut();
        if let Some(count) = creating.get_mut(&self.coming) {
            *count -= 1;
            if *count == 0 {
                creating.remove(&self.coming);
            }
        }
    }
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
        // Whoever removes the application either sees this context in the making
        // or has closed the application before.
        self.directory.check_open(new.application)?;
        let _creating = Creating::begin(self, id, new.application);
        // Held until it is durable, or has failed.
        let (change, log, _holds) = self.init(id, &new).await?;
        let agenda = match &change {
            Change::CreateContext(made) => Agenda::of(&made.call),
            _ => None,
        };
        let name: Option<Arc<str>> = new.name.map(Arc::from);
        if let Some(name) = &name {
            self.record(DirectoryChange::PutName {
                name: Arc::clone(name),
                context: id,
            })
            .await?;
        }
        match self.commit_shown(change).await {
            Ok(_) => {
                self.guest_logs.take_init(id, log);
                self.note_agenda(id, agenda);
                self.show_here(id)
            }
            Err(error) => {
                if let Some(name) = name
                    && let Err(second) = self.free_name(&name, id).await
                {
                    // It points nowhere, which the next start mends.
                    tracing::warn!(%name, error = %second, "a name could not be given back");
                }
                Err(error)
            }
        }
    }

    /// Runs a new context's `init` to its end. Gives the change that makes it, what it has
    /// logged, and what holds the blobs that it has attached.
    async fn init(
        self: &Rc<Self>,
        id: ContextId,
        new: &NewContext,
    ) -> Result<(Change, Option<TurnLog>, Vec<BlobHold>), CallError> {
        let module = self.module(new.application).await?;
        // Known to nobody but the scheduler, which treats it like any other.
        let slot = ContextSlot::UNASSIGNED;
        let standing = Standing::OF_NO_CONTEXT;
        let losses = self.commits.losses();
        let reuse = self.directory.reuse(new.application);
        let code = Code {
            application: new.application,
            reuse,
            module,
        };
        let context = Context::new(id, slot, code, standing, losses);
        let time = Duration::from_millis(self.host.limits().call_time_max);
        let begin = Begin {
            what: What::Init,
            row: Row::NONE,
            args: new.args.clone(),
            caller: Arc::clone(&new.caller),
            deadline: Instant::now() + time,
            upgrades: context.upgrades.get(),
            keyed: None,
            asked: None,
            promise: None,
        };
        let Durable::Init(made) = self.execute(&context, begin).await?.durable else {
            return Err(CallError::bug("an init ended as a call"));
        };
        let MadeByInit {
            effects: call,
            log,
            holds,
        } = *made;
        let new = corelet_store::NewContext {
            id,
            name: new.name.clone(),
            application: new.application,
            created: call.hlc,
            call,
        };
        Ok((Change::CreateContext(new), log, holds))
    }

    /// Deletes a context. Its entries are swept away later.
    pub(crate) async fn delete_here(self: &Rc<Self>, id: ContextId) -> Result<(), CallError> {
        let not_found = || CallError::ContextNotFound {
            context: id.to_string(),
        };
        let name = match self.snapshots.latest().context(&id) {
            Ok(record) => record.ok_or_else(not_found)?.name.map(Arc::from),
            // What is damaged can be deleted all the same.
            Err(StoreError::Corrupt { .. }) => self.directory.name_of(id),
            Err(error) => return Err(error.into()),
        };
        // Before that whoever read it would find it where it was.
        self.commit_shown(Change::DeleteContext(id)).await?;
        self.forget_quarantine(id);
        let live = self.contexts.borrow_mut().remove(&id);
        if let Some(context) = live {
            context.deleted.set(true);
            self.cancel_asking(&context);
            self.drop_warm(&context);
            self.count_live();
        }
        self.guest_logs.forget(id);
        self.statistics.forget(id);
        self.subscriptions.forget_listener(id);
        self.commits.listeners().gone(id);
        if let Some(name) = name
            && let Err(error) = self.free_name(&name, id).await
        {
            // The context is gone all the same. The name points nowhere, which the
            // next start mends.
            tracing::warn!(%name, %error, "a deleted context's name could not be given back");
        }
        Ok(())
    }

    /// Makes a change durable that makes a checkpoint, as what is not in the journal does, and
    /// waits until the snapshot shows it. That comes later if too many snapshots are in use.
    pub(crate) async fn commit_shown(&self, change: Change) -> Result<Committed, CallError> {
        let number = self.commits.next_number();
        let committed = self.commit(change).await?;
        let shown = self.commits.until_shown(number).await;
        shown.ok_or_else(|| CallError::bug("a change was forgotten"))?;
        Ok(committed)
    }

    /// Makes a change durable.
    pub(crate) async fn commit(&self, change: Change) -> Result<Committed, CallError> {
        let bytes = change.bytes();
        let receipt = self.commits.submit(change, bytes, None)?;
        match receipt
            .await
            .ok_or_else(|| CallError::bug("a change was forgotten"))?
        {
            Ok(committed) => Ok(committed),
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

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};

    use super::*;
    use crate::fixture::{self, Bench, Disk};
    use crate::message::{Message, Request, Response};
    use crate::recording::keeper;

    #[test]
    fn a_context_is_deleted_although_its_name_cannot_be_given_back() {
        let disk = Disk::new();
        disk.create_named(1, Some("room"));
        let mut bench = Bench::new(disk);
        let shard = Rc::clone(&bench.shard);
        let id = fixture::id(1);
        drop(block_on(shard.revive(id)).unwrap());
        assert_eq!(shard.stats.live_contexts.get(), 1);

        let mut deleting = Box::pin(shard.delete_here(id));
        assert!(block_on(poll_once(&mut deleting)).is_none());
        bench.commit();
        assert!(block_on(poll_once(&mut deleting)).is_none());
        assert_eq!(shard.stats.live_contexts.get(), 1, "no snapshot shows it");
        bench.checkpoint();
        assert!(block_on(poll_once(&mut deleting)).is_none());
        let asked = block_on(bench.keeper.take());
        let Message::Request {
            ticket,
            request: Request::Record(DirectoryChange::RemoveName { name, context }),
            ..
        } = asked
        else {
            panic!("it asks for something else");
        };
        assert_eq!((&*name, context), ("room", id));
        let failed = Response::Record(Err(CallError::Draining));
        shard
            .mesh
            .take_response(keeper(shard.count), ticket, failed);
        let deleted = block_on(poll_once(&mut deleting)).expect("it has ended");
        assert!(deleted.is_ok(), "{deleted:?}");
        assert_eq!(shard.stats.live_contexts.get(), 0);
    }
}
