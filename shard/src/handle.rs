//! The way into a shard for the server's part on the same thread.
//!
//! A handle finds the shard that owns a context and carries the request there:
//! by a direct call at home, through the mesh otherwise.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use corelet_store::{
    ApplicationId, ApplicationRecord, BlobId, ContextId, ExportScope, NodeId, Reuse, ShardCount,
    ShardId, VouchedDelta,
};
use corelet_wasm_host::{AttachedBlob, GuestSubscription, GuestTimer, Host};

use crate::answer::promise;
use crate::blobs::BlobService;
use crate::compiler::{Coming, Task};
use crate::copies::{ContextReader, CopyStream, Wanted};
use crate::delivery::Delivered;
use crate::error::CallError;
use crate::events::EventsPage;
use crate::guest_log::GuestLines;
use crate::message::{Call, ContextInfo, NewCode, NewContext, Reply, Request, Response, Upgraded};
use crate::rt;
use crate::sends::{SentCallInfo, SentNumber};
use crate::shard::Shard;
use crate::statistics::{Busiest, BusyQuestion, ContextStatistics};
use crate::stats::ShardStats;
use crate::subscriptions::WhichSubscriptions;
use crate::uploads::UploadService;
use crate::weight::Weight;

/// One shard, as seen by code on its thread. Cheap to clone, not `Send`.
#[derive(Clone)]
pub struct ShardHandle {
    shard: Rc<Shard>,
    draining: Rc<Draining>,
}

#[derive(Default)]
struct Draining {
    begun: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl ShardHandle {
    pub(crate) fn new(shard: Rc<Shard>) -> ShardHandle {
        ShardHandle {
            shard,
            draining: Rc::default(),
        }
    }

    /// This shard.
    pub fn id(&self) -> ShardId {
        self.shard.id
    }

    /// How many shards there are.
    pub fn count(&self) -> ShardCount {
        self.shard.count
    }

    /// What this shard counts.
    pub fn stats(&self) -> &Arc<ShardStats> {
        &self.shard.stats
    }

    /// The host that runs the guests.
    pub fn host(&self) -> &Arc<Host> {
        &self.shard.host
    }

    /// The context that an id or a name stands for. Whether the context exists
    /// is its owner's to say.
    pub fn resolve(&self, id_or_name: &str) -> Result<ContextId, CallError> {
        if let Some(id) = self.shard.directory.name(id_or_name) {
            return Ok(id);
        }
        id_or_name.parse().map_err(|_| CallError::ContextNotFound {
            context: id_or_name.chars().take(128).collect(),
        })
    }

    /// Calls a method of a context.
    pub async fn call(&self, context: ContextId, call: Call) -> Result<Reply, CallError> {
        let owner = self.shard.owner(&context);
        if owner == self.shard.id {
            let end = self.shard.call_here(context, call).await;
            return self.shard.counted(end);
        }
        // Boxed, so that calls at home need no room for it.
        let asking = ask(&self.shard, owner, Request::Call { context, call });
        match Box::pin(asking).await? {
            Response::Call(result) => result,
            _ => Err(mixed_up()),
        }
    }

    /// Makes a context and runs its `init`.
    pub async fn create_context(&self, new: NewContext) -> Result<ContextInfo, CallError> {
        let id = ContextId::random();
        let owner = self.shard.owner(&id);
        let shard = Rc::clone(&self.shard);
        to_the_end(async move {
            if owner == shard.id {
                return shard.counted(shard.create_here(id, new).await);
            }
            match ask(&shard, owner, Request::Create { id, new }).await? {
                Response::Create(result) => result,
                _ => Err(mixed_up()),
            }
        })
        .await
    }

    /// Has a context run another application, in its turn among its updates. If one of the hooks
    /// that both may have for that fails, nothing has changed.
    pub async fn upgrade_context(
        &self,
        id: ContextId,
        upgrade: NewCode,
    ) -> Result<Upgraded, CallError> {
        let owner = self.shard.owner(&id);
        let shard = Rc::clone(&self.shard);
        let place = UpgradePlace::take(&shard);
        let place = shard.counted(place)?;
        to_the_end(async move {
            let _place = place;
            if owner == shard.id {
                return shard.counted(shard.upgrade_here(id, upgrade).await);
            }
            match ask(&shard, owner, Request::Upgrade { id, upgrade }).await? {
                Response::Upgrade(result) => result,
                _ => Err(mixed_up()),
            }
        })
        .await
    }

    /// Deletes a context and everything in it.
    pub async fn delete_context(&self, id: ContextId) -> Result<(), CallError> {
        let owner = self.shard.owner(&id);
        let shard = Rc::clone(&self.shard);
        to_the_end(async move {
            if owner == shard.id {
                return shard.counted(shard.delete_here(id).await);
            }
            match ask(&shard, owner, Request::Delete { id }).await? {
                Response::Delete(result) => result,
                _ => Err(mixed_up()),
            }
        })
        .await
    }

    /// Puts a context back into service that was found damaged and is whole again. If it is
    /// not, the next call that meets the damage takes it out of service anew.
    pub async fn release_context(&self, id: ContextId) -> Result<(), CallError> {
        let owner = self.shard.owner(&id);
        let shard = Rc::clone(&self.shard);
        to_the_end(async move {
            if owner == shard.id {
                return shard.release_here(id).await;
            }
            match ask(&shard, owner, Request::Release { id }).await? {
                Response::Release(result) => result,
                _ => Err(mixed_up()),
            }
        })
        .await
    }

    /// Stops the calls of a context that have begun and not ended; tells how many. Those that
    /// wait go on.
    pub async fn cancel_calls(&self, id: ContextId) -> Result<u64, CallError> {
        let owner = self.shard.owner(&id);
        if owner == self.shard.id {
            return self.shard.cancel_calls_here(id);
        }
        match ask(&self.shard, owner, Request::CancelCalls { id }).await? {
            Response::CancelCalls(result) => result,
            _ => Err(mixed_up()),
        }
    }

    /// Gives a context another part of its shard, beside others. Durable when this returns.
    pub async fn set_weight(
        &self,
        id: ContextId,
        weight: Weight,
    ) -> Result<ContextInfo, CallError> {
        let owner = self.shard.owner(&id);
        let shard = Rc::clone(&self.shard);
        to_the_end(async move {
            if owner == shard.id {
                return shard.counted(shard.set_weight_here(id, weight).await);
            }
            match ask(&shard, owner, Request::SetWeight { id, weight }).await? {
                Response::Show(result) => result,
                _ => Err(mixed_up()),
            }
        })
        .await
    }

    /// Says which other nodes have a context, at most [`corelet_store::MEMBERS_MAX`]: what one
    /// of them has not acknowledged is kept for it, within bounds.
    pub async fn set_members(&self, id: ContextId, members: Vec<NodeId>) -> Result<(), CallError> {
        let owner = self.shard.owner(&id);
        let shard = Rc::clone(&self.shard);
        to_the_end(async move {
            if owner == shard.id {
                return shard.counted(shard.set_members_here(id, members).await);
            }
            match ask(&shard, owner, Request::SetMembers { id, members }).await? {
                Response::SetMembers(result) => result,
                _ => Err(mixed_up()),
            }
        })
        .await
    }

    /// Applies deltas of other nodes to a context, in their order. An error says that it is
    /// not known what became of them; it does no harm to deliver them again. One delivery to
    /// a context at a time, of at most [`DELIVERY_DELTAS_MAX`](crate::DELIVERY_DELTAS_MAX).
    pub async fn deliver(
        &self,
        id: ContextId,
        deltas: Vec<VouchedDelta>,
    ) -> Result<Vec<Delivered>, CallError> {
        let owner = self.shard.owner(&id);
        let shard = Rc::clone(&self.shard);
        to_the_end(async move {
            if owner == shard.id {
                return shard.counted(shard.deliver_here(id, deltas).await);
            }
            match ask(&shard, owner, Request::Deliver { id, deltas }).await? {
                Response::Deliver(result) => result,
                _ => Err(mixed_up()),
            }
        })
        .await
    }

    /// What is known about a context.
    pub async fn show_context(&self, id: ContextId) -> Result<ContextInfo, CallError> {
        let owner = self.shard.owner(&id);
        if owner == self.shard.id {
            return self.shard.show_here(id);
        }
        match ask(&self.shard, owner, Request::Show { id }).await? {
            Response::Show(result) => result,
            _ => Err(mixed_up()),
        }
    }

    /// Up to `limit` contexts of the whole node, by id, behind `after`.
    pub async fn list_contexts(
        &self,
        after: Option<ContextId>,
        limit: usize,
    ) -> Result<Vec<ContextInfo>, CallError> {
        let mut all = self.shard.list_here(after, limit)?;
        for shard in self
            .shard
            .count
            .shards()
            .filter(|shard| *shard != self.shard.id)
        {
            match ask(&self.shard, shard, Request::List { after, limit }).await? {
                Response::List(result) => all.extend(result?),
                _ => return Err(mixed_up()),
            }
        }
        all.sort_by_key(|info| info.id);
        all.truncate(limit);
        Ok(all)
    }

    /// Up to `limit` durable events of a context behind number `after`.
    pub async fn events(
        &self,
        id: ContextId,
        after: u64,
        limit: usize,
    ) -> Result<EventsPage, CallError> {
        let owner = self.shard.owner(&id);
        if owner == self.shard.id {
            return self.shard.events_here(id, after, limit);
        }
        match ask(&self.shard, owner, Request::Events { id, after, limit }).await? {
            Response::Events(result) => result,
            _ => Err(mixed_up()),
        }
    }

    /// What is left of the lines that a context's guests have logged behind number `after`.
    pub async fn guest_logs(&self, id: ContextId, after: u64) -> Result<GuestLines, CallError> {
        let owner = self.shard.owner(&id);
        if owner == self.shard.id {
            return self.shard.guest_logs_here(id, after);
        }
        match ask(&self.shard, owner, Request::GuestLogs { id, after }).await? {
            Response::GuestLogs(result) => result,
            _ => Err(mixed_up()),
        }
    }

    /// Up to `limit` blobs that a context has attached, by id, behind `after`: those of which
    /// that is durable.
    pub async fn attached(
        &self,
        id: ContextId,
        after: Option<BlobId>,
        limit: usize,
    ) -> Result<Vec<AttachedBlob>, CallError> {
        let owner = self.shard.owner(&id);
        if owner == self.shard.id {
            return self.shard.attached_here(id, after, limit).await;
        }
        match ask(&self.shard, owner, Request::Attached { id, after, limit }).await? {
            Response::Attached(result) => result,
            _ => Err(mixed_up()),
        }
    }

    /// Up to `limit` timers that a context has armed, by name, behind the one that is called
    /// `after`: those of which that is durable; and whether there are more. A page ends early for
    /// the sake of its bytes.
    pub async fn timers(
        &self,
        id: ContextId,
        after: Option<String>,
        limit: usize,
    ) -> Result<(Vec<GuestTimer>, bool), CallError> {
        let owner = self.shard.owner(&id);
        if owner == self.shard.id {
            return self.shard.timers_here(id, after.as_deref(), limit);
        }
        match ask(&self.shard, owner, Request::Timers { id, after, limit }).await? {
            Response::Timers(result) => result,
            _ => Err(mixed_up()),
        }
    }

    /// Up to `limit` calls that a context has sent to others and that have not ended, by receiver
    /// and in their order, behind the one of this receiver and number: those of which that is
    /// durable; and whether there may be more. A page ends early for the sake of its bytes.
    pub async fn sent_calls(
        &self,
        id: ContextId,
        after: Option<(ContextId, SentNumber)>,
        limit: usize,
    ) -> Result<(Vec<SentCallInfo>, bool), CallError> {
        let owner = self.shard.owner(&id);
        if owner == self.shard.id {
            return self.shard.sent_here(id, after, limit);
        }
        match ask(&self.shard, owner, Request::Sent { id, after, limit }).await? {
            Response::Sent(result) => result,
            _ => Err(mixed_up()),
        }
    }

    /// What handlers of a context have subscribed to, as far as that is durable.
    pub async fn subscriptions(&self, id: ContextId) -> Result<Vec<GuestSubscription>, CallError> {
        let owner = self.shard.owner(&id);
        if owner == self.shard.id {
            return self.shard.subscriptions_here(id);
        }
        match ask(&self.shard, owner, Request::Subscriptions { id }).await? {
            Response::Subscriptions(result) => result,
            _ => Err(mixed_up()),
        }
    }

    /// Ends subscriptions of a context's handlers, whatever its application makes of that, and tells how many.
    /// Durable when this returns.
    pub async fn end_subscriptions(
        &self,
        id: ContextId,
        which: WhichSubscriptions,
    ) -> Result<u64, CallError> {
        let owner = self.shard.owner(&id);
        let shard = Rc::clone(&self.shard);
        to_the_end(async move {
            if owner == shard.id {
                return shard.end_subscriptions_here(id, &which).await;
            }
            match ask(&shard, owner, Request::EndSubscriptions { id, which }).await? {
                Response::EndSubscriptions(result) => result,
                _ => Err(mixed_up()),
            }
        })
        .await
    }

    /// What was counted of a context's calls, by method.
    pub async fn statistics(&self, id: ContextId) -> Result<ContextStatistics, CallError> {
        let owner = self.shard.owner(&id);
        if owner == self.shard.id {
            return self.shard.statistics_here(id);
        }
        match ask(&self.shard, owner, Request::Statistics { id }).await? {
            Response::Statistics(result) => result,
            _ => Err(mixed_up()),
        }
    }

    /// The contexts of the whole node that have the most to do, of those in memory.
    pub async fn busiest(&self, question: BusyQuestion) -> Result<Busiest, CallError> {
        let mut parts = vec![self.shard.busiest_here(question).await?];
        for shard in self
            .shard
            .count
            .shards()
            .filter(|shard| *shard != self.shard.id)
        {
            match ask(&self.shard, shard, Request::Busiest(question)).await? {
                Response::Busiest(result) => parts.push(result?),
                _ => return Err(mixed_up()),
            }
        }
        Ok(Busiest::merge(parts, &question))
    }

    /// Checks, compiles and keeps a component. Installing one again changes nothing, but for
    /// `reuse` if that is given. An upload of which an application was made is ended, and so is
    /// one of which none can ever be made.
    pub async fn install_application(
        &self,
        component: Coming,
        reuse: Option<Reuse>,
    ) -> Result<Arc<ApplicationRecord>, CallError> {
        let shard = Rc::clone(&self.shard);
        to_the_end(async move {
            let upload = match &component {
                Coming::Whole { .. } => None,
                Coming::Uploaded(held) => Some(Arc::clone(held)),
            };
            let installed = install(&shard, component, reuse).await;
            let is_over = match &installed {
                Ok(_) => true,
                Err(error) => error.is_for_good(),
            };
            if let Some(upload) = upload.filter(|_| is_over) {
                if installed.is_ok() {
                    shard.uploads.stats().installed.add(1);
                }
                let id = upload.id();
                if let Err(error) = shard.uploads.remove_held(upload).await {
                    tracing::warn!(%error, upload = %id, "an upload that was used stays until it is too old");
                }
            }
            installed
        })
        .await
    }

    /// Says whether an application's instances serve more than one call. What was kept of one
    /// whose do not is dropped on every shard before this returns.
    pub async fn set_reuse(
        &self,
        id: ApplicationId,
        reuse: Reuse,
    ) -> Result<Arc<ApplicationRecord>, CallError> {
        self.show_application(id)?;
        let shard = Rc::clone(&self.shard);
        to_the_end(async move { set_reuse(&shard, id, reuse).await }).await
    }

    /// The uploads of this node that come in pieces.
    pub fn uploads(&self) -> &UploadService {
        &self.shard.uploads
    }

    /// Begins a backup of the whole node: everything that was durable on each shard at one
    /// moment after now, without the node's keys. Bounded in number.
    pub fn back_up(&self) -> Result<CopyStream, CallError> {
        let begun = self.shard.copier.begin(Wanted::Everything);
        self.shard.counted(begun)
    }

    /// The same of one context.
    pub fn export_context(
        &self,
        id: ContextId,
        scope: ExportScope,
    ) -> Result<CopyStream, CallError> {
        let begun = self.shard.copier.begin(Wanted::Context { id, scope });
        self.shard.counted(begun)
    }

    /// What `read` makes of a context, as all that was durable at one moment after now shows it.
    /// It runs on a thread of its own, at the pace of who takes it. Bounded in number, together
    /// with copies.
    pub fn read_context(
        &self,
        id: ContextId,
        read: ContextReader,
    ) -> Result<CopyStream, CallError> {
        let begun = self.shard.copier.begin(Wanted::Read { id, read });
        self.shard.counted(begun)
    }

    /// The blobs of this node.
    pub fn blobs(&self) -> &BlobService {
        &self.shard.blobs
    }

    /// All installed applications, oldest first.
    pub fn list_applications(&self) -> Vec<Arc<ApplicationRecord>> {
        self.shard.directory.applications()
    }

    /// One installed application.
    pub fn show_application(&self, id: ApplicationId) -> Result<Arc<ApplicationRecord>, CallError> {
        let not_found = || CallError::ApplicationNotFound {
            application: id.to_string(),
        };
        self.shard.directory.application(&id).ok_or_else(not_found)
    }

    /// Forgets an application that no context runs.
    pub async fn remove_application(&self, id: ApplicationId) -> Result<(), CallError> {
        self.show_application(id)?;
        let shard = Rc::clone(&self.shard);
        to_the_end(async move { shard.counted(shard.remove_application(id).await) }).await
    }

    /// Whether this node has begun to stop.
    pub fn is_draining(&self) -> bool {
        self.draining.begun.get()
    }

    /// Resolves when this node begins to stop.
    pub fn draining(&self) -> impl Future<Output = ()> + use<> {
        let draining = Rc::clone(&self.draining);
        std::future::poll_fn(move |cx| {
            if draining.begun.get() {
                return Poll::Ready(());
            }
            let mut waiting = draining.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
    }

    pub(crate) fn begin_draining(&self) {
        self.draining.begun.set(true);
        for waker in self.draining.waiting.take() {
            waker.wake();
        }
    }
}

/// One of the upgrades that this shard was asked for.
struct UpgradePlace(Arc<ShardStats>);

impl UpgradePlace {
    fn take(shard: &Shard) -> Result<UpgradePlace, CallError> {
        let (used, max) = (
            shard.stats.upgrades_running.get(),
            shard.bounds.upgrades_max as u64,
        );
        if used >= max {
            return Err(CallError::Busy {
                limit: "upgrades_max",
                used,
                max,
            });
        }
        shard.stats.upgrades_running.up();
        Ok(UpgradePlace(Arc::clone(&shard.stats)))
    }
}

impl Drop for UpgradePlace {
    fn drop(&mut self) {
        self.0.upgrades_running.down();
    }
}

async fn install(
    shard: &Rc<Shard>,
    component: Coming,
    reuse: Option<Reuse>,
) -> Result<Arc<ApplicationRecord>, CallError> {
    let full = shard.directory.if_full(shard.bounds.applications_max);
    let task = Task::Install {
        component,
        uploads: shard.uploads.uploads().clone(),
        full,
    };
    let module = shard.counted(shard.mesh.load(task).await)?;
    let id = ApplicationId::from_bytes(*module.id().as_bytes());
    if let Some(record) = shard.directory.application(&id) {
        return match reuse {
            Some(reuse) => set_reuse(shard, id, reuse).await,
            None => Ok(record),
        };
    }
    let description = module.description();
    let record = Arc::new(ApplicationRecord {
        id,
        name: description.name().to_owned(),
        version: description.version().to_owned(),
        size_bytes: module.wasm_bytes(),
        installed: shard.clock.tick(),
        description: description.to_json(),
        reuse: reuse.unwrap_or_default(),
    });
    shard.counted(shard.record_application(Arc::clone(&record), reuse).await)?;
    shard.directory.keep_module(id, module);
    Ok(shard.directory.application(&id).unwrap_or(record))
}

async fn set_reuse(
    shard: &Rc<Shard>,
    id: ApplicationId,
    reuse: Reuse,
) -> Result<Arc<ApplicationRecord>, CallError> {
    shard.counted(shard.set_reuse(id, reuse).await)?;
    let record = shard.directory.application(&id);
    record.ok_or_else(|| CallError::ApplicationNotFound {
        application: id.to_string(),
    })
}

/// Asks another shard for somebody outside. What that one refuses, it has counted.
async fn ask(shard: &Shard, to: ShardId, request: Request) -> Result<Response, CallError> {
    shard.counted(shard.mesh.ask(to, request).await)
}

/// Runs a request of several steps to its end even if whoever asked goes away
/// in the middle: half of it done would be worse than all of it unasked.
async fn to_the_end<T: 'static>(
    steps: impl Future<Output = Result<T, CallError>> + 'static,
) -> Result<T, CallError> {
    let (promise, answer) = promise();
    rt::spawn(async move { promise.keep(steps.await) });
    answer
        .await
        .unwrap_or_else(|| Err(CallError::bug("a request was given up half done")))
}

fn mixed_up() -> CallError {
    CallError::bug("a shard answered another question")
}
