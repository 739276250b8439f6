//! Applications, as shards record, set and remove them: each is a change of the directory
//! (`recording.rs`), and none is removed that a context runs. Components are in `components.rs`.
//!
//! Each shard has the part of it that is its own.

use std::rc::Rc;
use std::sync::Arc;

use corelet_store::{ApplicationId, ApplicationRecord, ContextId, Reuse, ShardId, StoreError};

use crate::error::CallError;
use crate::message::{DirectoryChange, Request, Response};
use crate::recording::{BUSY_PAUSE, keeper};
use crate::shard::Shard;

/// Contexts looked through between two breaths when all have to be.
const PAGE: usize = 500;

impl Shard {
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

    fn in_the_making(&self, application: ApplicationId) -> Option<ContextId> {
        let creating = self.creating.borrow();
        let found = creating.keys().find(|(_, used)| *used == application);
        found.map(|(id, _)| *id)
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
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};

    use super::*;
    use crate::fixture::{self, Bench, Disk};

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
}
