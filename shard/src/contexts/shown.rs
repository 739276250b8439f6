//! What there is to tell of contexts, and what this node keeps for them: one, a page of them, a
//! context's guest log, its attached blobs and its timers. Nothing is changed here.
//!
//! On the shard that owns them.

use std::rc::Rc;
use std::sync::Arc;

use corelet_store::{BlobId, ContextId, ContextRecord, Hlc, Standing, StoreError};
use corelet_wasm_host::{AttachedBlob, AttachedFrom, GuestBlobs, GuestTimer};

use super::failure_of;
use crate::error::CallError;
use crate::guest_log::GuestLines;
use crate::message::ContextInfo;
use crate::shard::Shard;
use crate::view::{SequenceAccess, View};
use crate::weight::{self, Weight};

/// A page of timers has no further one behind so many bytes.
const TIMERS_PAGE_BYTES: usize = 256 << 10;

impl Shard {
    pub(crate) fn show_here(&self, id: ContextId) -> Result<ContextInfo, CallError> {
        let found = match self.snapshots.latest().context(&id) {
            Ok(record) => Ok(record.ok_or_else(|| CallError::ContextNotFound {
                context: id.to_string(),
            })?),
            Err(error) => Err(error),
        };
        self.info_of(id, found)
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
}
