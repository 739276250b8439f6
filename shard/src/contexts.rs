//! Making, showing, listing and deleting contexts, on the shard that owns
//! them, and the directory's changes, on its keeper. Calls are in `shard.rs`.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corelet_store::{
    ApplicationId, ApplicationRecord, BlobHold, BlobId, Change, Committed, ContextId,
    ContextRecord, ContextSlot, Hlc, Refused, Reuse, ShardCount, ShardId, Standing, StoreError,
};
use corelet_wasm_host::{AttachedBlob, AttachedFrom, Failure, GuestBlobs, GuestTimer, StateError};

use crate::agenda::Agenda;
use crate::context::{Code, Context};
use crate::directory::{check_name, durable_change};
use crate::error::CallError;
use crate::guest_log::{GuestLines, TurnLog};
use crate::mesh::RECORDS_INFLIGHT_MAX;
use crate::message::{ContextInfo, DirectoryChange, NewContext, Request, Response};
use crate::shard::Shard;
use crate::statistics::Row;
use crate::turn::{Begin, Durable, MadeByInit, What};
use crate::view::{SequenceAccess, View};
use crate::weight::{self, Weight};

/// Contexts looked through between two breaths when all have to be.
const PAGE: usize = 500;

/// Contexts whose warm instances go between two breaths.
const DROPPED_AT_ONCE: usize = 8;

/// Between two tries of what must not fail because others are quicker.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// As a turn would have failed with it.
pub(crate) fn failure_of(error: StateError) -> Failure {
    match error {
        StateError::Store(source) => Failure::State(source),
        StateError::Misused(message) => Failure::Misused { message },
        StateError::Busy { limit, used, max } => Failure::Busy { limit, used, max },
    }
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

/// A page of timers has no further one behind so many bytes.
const TIMERS_PAGE_BYTES: usize = 256 << 10;

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

    pub(crate) fn show_here(&self, id: ContextId) -> Result<ContextInfo, CallError> {
        let found = match self.snapshots.latest().context(&id) {
            Ok(record) => Ok(record.ok_or_else(|| CallError::ContextNotFound {
                context: id.to_string(),
            })?),
            Err(error) => Err(error),
        };
        self.info_of(id, found)
    }

    /// What there is to tell of a context that exists. Where it is damaged, that it is there and
    /// what is wrong with it is told all the same.
    fn info_of(
        &self,
        id: ContextId,
        found: Result<ContextRecord, StoreError>,
    ) -> Result<ContextInfo, CallError> {
        let mut out_of_service = self.quarantined.borrow().get(&id).cloned();
        let mut unless_damaged = |error: StoreError| match error {
            damage @ StoreError::Corrupt { .. } => {
                out_of_service.get_or_insert_with(|| Arc::from(damage.to_string()));
                Ok(())
            }
            error => Err(error),
        };
        let (slot, name, application, created) = match found {
            Ok(record) => {
                let slot = Some(record.slot);
                (slot, record.name, record.application, record.created)
            }
            Err(error) => {
                unless_damaged(error)?;
                let name = self.directory.name_of(id).map(|name| name.to_string());
                (None, name, ContextInfo::UNKNOWN, Hlc::ZERO)
            }
        };
        let live = self.contexts.borrow().peek(&id).map(Rc::clone);
        let weight = match (&live, slot) {
            (Some(context), _) => context.share.weight.get(),
            (None, None) => Weight::DEFAULT,
            (None, Some(slot)) => match weight::kept(&self.snapshots.latest(), slot) {
                Ok(weight) => weight,
                Err(error) => {
                    unless_damaged(error)?;
                    Weight::DEFAULT
                }
            },
        };
        // What is in memory may be newer than the snapshot.
        let mut application = application;
        let standing = match (live, slot) {
            (Some(context), _) => {
                application = context.code().application;
                context.standing.get()
            }
            (None, None) => Standing::OF_NO_CONTEXT,
            (None, Some(slot)) => match self.snapshots.latest().head(slot) {
                Ok(head) => Standing::of(&head),
                Err(error) => {
                    unless_damaged(error)?;
                    Standing::OF_NO_CONTEXT
                }
            },
        };
        Ok(ContextInfo {
            id,
            name,
            application,
            created,
            version: standing.version,
            root: standing.root,
            entries: standing.entries,
            bytes: standing.bytes,
            weight,
            out_of_service,
            shard: self.id,
        })
    }

    pub(crate) fn guest_logs_here(
        &self,
        id: ContextId,
        after: u64,
    ) -> Result<GuestLines, CallError> {
        match self.snapshots.latest().context(&id)? {
            Some(_) => Ok(self.guest_logs.read(id, after)),
            None => Err(CallError::ContextNotFound {
                context: id.to_string(),
            }),
        }
    }

    /// Up to `limit` blobs of which it is durable that a context has attached them, by id, behind
    /// `after`.
    pub(crate) async fn attached_here(
        self: &Rc<Self>,
        id: ContextId,
        after: Option<BlobId>,
        limit: usize,
    ) -> Result<Vec<AttachedBlob>, CallError> {
        self.check_service(id)?;
        let end = self.read_attached(id, after, limit).await;
        self.quarantine_if_damaged(id, &end);
        end
    }

    async fn read_attached(
        &self,
        id: ContextId,
        after: Option<BlobId>,
        limit: usize,
    ) -> Result<Vec<AttachedBlob>, CallError> {
        let snapshot = self.snapshots.latest();
        let record = snapshot.context(&id)?;
        let record = record.ok_or_else(|| CallError::ContextNotFound {
            context: id.to_string(),
        })?;
        let settled = match self.contexts.borrow().peek(&id) {
            Some(context) => context.overlay.borrow().settled(),
            None => Rc::default(),
        };
        let access = SequenceAccess::without_cache(self.author);
        let mut view = View::of_query(record.slot, snapshot, settled, access);
        let after = after.map(|after| after.to_string());
        let mut from = after
            .as_deref()
            .map_or(AttachedFrom::Start, AttachedFrom::Behind);
        let mut found = Vec::new();
        loop {
            let page = view.attached(from, limit - found.len());
            let page = page.map_err(|error| CallError::guest(failure_of(error), &[]))?;
            found.extend(page.blobs);
            match page.resume {
                Some(place) => from = AttachedFrom::Resumed(place),
                None => return Ok(found),
            }
            crate::rt::yield_now().await;
        }
    }

    /// Up to `limit` timers of which it is durable that a context has them armed, by name, behind
    /// `after`, and whether there may be more. A page ends early for the sake of its bytes.
    pub(crate) fn timers_here(
        self: &Rc<Self>,
        id: ContextId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<GuestTimer>, bool), CallError> {
        self.check_service(id)?;
        let end = self.read_timers(id, after, limit);
        self.quarantine_if_damaged(id, &end);
        end
    }

    fn read_timers(
        &self,
        id: ContextId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<GuestTimer>, bool), CallError> {
        let snapshot = self.snapshots.latest();
        let record = snapshot.context(&id)?;
        let record = record.ok_or_else(|| CallError::ContextNotFound {
            context: id.to_string(),
        })?;
        let settled = match self.contexts.borrow().peek(&id) {
            Some(context) => context.overlay.borrow().settled(),
            None => Rc::default(),
        };
        let access = SequenceAccess::without_cache(self.author);
        let view = View::of_query(record.slot, snapshot, settled, access);
        let page = view.timers_within(after, limit + 1, TIMERS_PAGE_BYTES);
        let (page, is_cut) = page.map_err(|error| CallError::guest(failure_of(error), &[]))?;
        let mut timers = page.timers;
        let more = is_cut || timers.len() > limit;
        timers.truncate(limit);
        Ok((timers, more))
    }

    /// Up to `limit` contexts of this shard with ids behind `after`.
    pub(crate) fn list_here(
        &self,
        after: Option<ContextId>,
        limit: usize,
    ) -> Result<Vec<ContextInfo>, CallError> {
        let found = self.snapshots.latest().contexts_found(after, limit)?;
        let infos = found.into_iter().map(|(id, found)| self.info_of(id, found));
        infos.collect()
    }

    /// One of this shard's contexts that runs an application, or will as soon as
    /// it is made. Fails with one whose record is damaged if that may be the only one: nothing
    /// says what it runs.
    pub(crate) async fn find_user_here(
        &self,
        application: ApplicationId,
    ) -> Result<Option<ContextId>, CallError> {
        // First those in the making: when they are made they are among the others.
        if let Some(id) = self.in_the_making(application) {
            return Ok(Some(id));
        }
        let (mut after, mut unread) = (None, None);
        loop {
            let page = self.snapshots.latest().contexts_found(after, PAGE)?;
            let next = page
                .last()
                .filter(|_| page.len() == PAGE)
                .map(|(id, _)| *id);
            for (id, found) in page {
                match found {
                    Ok(record) if record.application == application => return Ok(Some(id)),
                    Ok(_) => {}
                    Err(damage @ StoreError::Corrupt { .. }) => {
                        unread.get_or_insert_with(|| CallError::OutOfService {
                            context: id,
                            why: Arc::from(damage.to_string()),
                        });
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            if next.is_none() {
                return unread.map_or(Ok(None), Err);
            }
            after = next;
            crate::rt::breathe().await;
        }
    }

    /// Removes an application that no context runs. Until it is certain that none
    /// does, none is made either, on any shard.
    pub(crate) async fn remove_application(
        self: &Rc<Self>,
        id: ApplicationId,
    ) -> Result<(), CallError> {
        for shard in self.count.shards() {
            self.tell(shard, || Request::Close(id)).await?;
        }
        let removed = match self.find_user(id).await {
            Ok(Some(context)) => Err(CallError::ApplicationInUse {
                application: id,
                context,
            }),
            Ok(None) => self.record(DirectoryChange::RemoveApplication(id)).await,
            Err(error) => Err(error),
        };
        for shard in self.count.shards() {
            self.tell(shard, || Request::Reopen(id)).await?;
        }
        removed
    }

    async fn find_user(
        self: &Rc<Self>,
        application: ApplicationId,
    ) -> Result<Option<ContextId>, CallError> {
        let mut unread = None;
        for shard in self.count.shards() {
            let user = if shard == self.id {
                self.find_user_here(application).await
            } else {
                match self
                    .mesh
                    .ask(shard, Request::FindUser { application })
                    .await?
                {
                    Response::FindUser(result) => result,
                    _ => return Err(CallError::bug("a shard answered another question")),
                }
            };
            match user {
                Ok(None) => {}
                // One that surely runs it is the better reason.
                Err(error @ CallError::OutOfService { .. }) => {
                    unread.get_or_insert(error);
                }
                found => return found,
            }
        }
        unread.map_or(Ok(None), Err)
    }

    /// Has a shard do what must not fail because others are quicker.
    async fn tell(
        self: &Rc<Self>,
        shard: ShardId,
        request: impl Fn() -> Request,
    ) -> Result<(), CallError> {
        if shard == self.id {
            self.serve_request(request()).await;
            return Ok(());
        }
        loop {
            match self.mesh.ask(shard, request()).await {
                Err(CallError::Busy { .. }) => crate::rt::sleep(BUSY_PAUSE).await,
                other => return other.map(drop),
            }
        }
    }

    fn in_the_making(&self, application: ApplicationId) -> Option<ContextId> {
        let creating = self.creating.borrow();
        let found = creating.keys().find(|(_, used)| *used == application);
        found.map(|(id, _)| *id)
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

    /// Has the keeper record an application that was installed, durably and everywhere, with
    /// this setting if one was asked for.
    pub(crate) async fn record_application(
        self: &Rc<Self>,
        record: Arc<ApplicationRecord>,
        reuse: Option<Reuse>,
    ) -> Result<(), CallError> {
        let keeper = keeper(self.count);
        if keeper == self.id {
            return self.record_application_here(record, reuse).await;
        }
        match self
            .mesh
            .ask(keeper, Request::Install { record, reuse })
            .await?
        {
            Response::Record(result) => result,
            _ => Err(CallError::bug("the keeper answered another question")),
        }
    }

    /// The keeper's part. Whoever installs sees no record while another install of the same is
    /// on its way to the disk; who asks for no setting must not undo what that one asks for.
    pub(crate) async fn record_application_here(
        self: &Rc<Self>,
        record: Arc<ApplicationRecord>,
        reuse: Option<Reuse>,
    ) -> Result<(), CallError> {
        let coming = self.installing.borrow().get(&record.id).cloned();
        let newest = match coming {
            Some((_, newest)) => Some(newest),
            None => self.directory.application(&record.id),
        };
        let there = newest.map(|newest| newest.reuse);
        let wanted = reuse.or(there).unwrap_or_default();
        let record = ApplicationRecord {
            reuse: wanted,
            ..ApplicationRecord::clone(&record)
        };
        self.record_here(DirectoryChange::PutApplication(Arc::new(record)))
            .await
    }

    /// Has the keeper change a setting of an application, durably and everywhere.
    pub(crate) async fn set_reuse(
        self: &Rc<Self>,
        application: ApplicationId,
        reuse: Reuse,
    ) -> Result<(), CallError> {
        let keeper = keeper(self.count);
        if keeper == self.id {
            return self.set_reuse_here(application, reuse).await;
        }
        let request = Request::SetReuse { application, reuse };
        match self.mesh.ask(keeper, request).await? {
            Response::Record(result) => result,
            _ => Err(CallError::bug("the keeper answered another question")),
        }
    }

    /// The keeper's part. It has the newest record; one that is about to be removed must not
    /// come back by this.
    pub(crate) async fn set_reuse_here(
        self: &Rc<Self>,
        application: ApplicationId,
        reuse: Reuse,
    ) -> Result<(), CallError> {
        self.directory.check_open(application)?;
        let not_found = || CallError::ApplicationNotFound {
            application: application.to_string(),
        };
        let record = self.directory.application(&application);
        let record = record.ok_or_else(not_found)?;
        if record.reuse == reuse {
            return Ok(());
        }
        let changed = ApplicationRecord {
            reuse,
            ..ApplicationRecord::clone(&record)
        };
        let put = DirectoryChange::PutApplication(Arc::new(changed));
        self.record_here(put).await
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

    /// Of an application its record as it is now: a shard that hears of two changes of it, in
    /// whatever order, ends with the last.
    fn newest(&self, change: &DirectoryChange) -> DirectoryChange {
        let newest = match change {
            DirectoryChange::PutApplication(record) => self.directory.application(&record.id),
            _ => None,
        };
        newest.map_or_else(|| change.clone(), DirectoryChange::PutApplication)
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

    /// Gives back a context's name, which must not fail because others are quicker. One that
    /// is another's by now stays.
    async fn free_name(
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
    use std::pin::Pin;

    use futures_lite::future::{block_on, poll_once};

    use super::*;
    use crate::bounds::Bounds;
    use crate::fixture::{self, Bench, Disk};
    use crate::message::Message;

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

    /// Two install the same at the same time, and neither sees the other's record: whoever comes
    /// last, the one wish that there is holds.
    #[test]
    fn an_install_without_a_wish_undoes_no_other_one_s() {
        for wishes in [[Some(Reuse::Never), None], [None, Some(Reuse::Never)]] {
            let bench = Bench::new(Disk::new());
            let shard = &bench.shard;
            let id = ApplicationId::from_bytes([7; 32]);
            let mut record = shard.directory.applications()[0].as_ref().clone();
            record.id = id;
            let mut installs = wishes.map(|wish| {
                let record = Arc::new(record.clone());
                Box::pin(shard.record_application_here(record, wish))
            });
            for install in &mut installs {
                assert!(block_on(poll_once(install)).is_none());
            }
            bench.commit();
            for install in &mut installs {
                // They also wait for the other shard.
                assert!(block_on(poll_once(install)).is_none());
            }
            let record = shard.directory.application(&id).expect("it is installed");
            assert_eq!(record.reuse, Reuse::Never, "{wishes:?}");
            drop(installs);
        }
    }

    /// Nothing says what a context runs of which the record is damaged.
    #[test]
    fn an_application_that_others_run_is_found_although_a_context_cannot_be_read() {
        let disk = Disk::new();
        disk.create_named(1, Some("hit-by-a-ray"));
        disk.create(2);
        disk.flip(b"hit-by-a-ray", 0);
        let bench = Bench::new(disk);
        let find = |n| {
            let application = ApplicationId::from_bytes([n; 32]);
            block_on(bench.shard.find_user_here(application))
        };
        assert_eq!(find(1).unwrap(), Some(fixture::id(2)));
        let Err(CallError::OutOfService { context, .. }) = find(9) else {
            panic!("the damaged one may run it");
        };
        assert_eq!(context, fixture::id(1));
    }

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
