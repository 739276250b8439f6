//! Which contexts are in memory: brought there by their first call, with their application's module,
//! and forgotten when there are too many, or their instances given up. Which of them goes first is
//! kept in `warm_order.rs` for those that have instances.
//!
//! Owned by the shard.

use std::rc::Rc;
use std::sync::Arc;

use corelet_store::{ApplicationId, ContextId, Standing};
use corelet_wasm_host::Module;

use crate::answer::promise;
use crate::compiler::Task;
use crate::context::{Code, Context, InUse};
use crate::error::CallError;
use crate::shard::Shard;
use crate::weight;

/// How many contexts are looked at for one that may go: some microseconds. Those
/// that have to stay remain in front until the next checkpoint, or until they are
/// called again, and a checkpoint is made when there are half as many.
pub(crate) const EVICTION_TRIES: usize = 1024;

impl Shard {
    /// A context, in memory.
    pub(crate) async fn reach(self: &Rc<Self>, id: ContextId) -> Result<InUse, CallError> {
        match self.live(id) {
            Some(context) => Ok(context),
            // Boxed, because calls of live contexts need no room for it.
            None => Box::pin(self.revive(id)).await,
        }
    }

    /// A context that has something in memory already.
    pub(crate) fn live(&self, id: ContextId) -> Option<InUse> {
        self.contexts
            .borrow_mut()
            .get(&id)
            .map(|context| InUse::new(Rc::clone(context)))
    }

    /// Brings a context back from the disk.
    pub(crate) async fn revive(self: &Rc<Self>, id: ContextId) -> Result<InUse, CallError> {
        let not_found = || CallError::ContextNotFound {
            context: id.to_string(),
        };
        let (record, snapshot, code) = loop {
            let record = self.snapshots.latest().context(&id)?;
            let application = record.ok_or_else(not_found)?.application;
            let module = self.module(application).await?;
            self.delivered(id).await;
            // Meanwhile somebody else may have been faster, or the context may have been
            // deleted, or found damaged.
            self.check_service(id)?;
            if let Some(context) = self.live(id) {
                return Ok(context);
            }
            let snapshot = self.snapshots.latest();
            let record = snapshot.context(&id)?.ok_or_else(not_found)?;
            // Or it was upgraded, and has left memory again.
            if record.application == application {
                let code = Code {
                    application,
                    reuse: self.directory.reuse(application),
                    module,
                };
                break (record, snapshot, code);
            }
        };
        let head = snapshot.head(record.slot)?;
        snapshot.check_root(record.slot, &head)?;
        let losses = self.commits.losses();
        let context = Context::new(id, record.slot, code, Standing::of(&head), losses);
        let weight = weight::kept(&snapshot, record.slot)?;
        context.share.weight.set(weight);
        let in_use = InUse::new(Rc::clone(&context));
        self.hold_revived(&context);
        self.contexts.borrow_mut().insert(id, context);
        while self.contexts.borrow().len() > self.bounds.live_contexts_max && self.forget_one() {}
        self.count_live();
        Ok(in_use)
    }

    /// An application's module; loaded by a compile thread if this is the first need.
    pub(crate) async fn module(
        self: &Rc<Self>,
        id: ApplicationId,
    ) -> Result<Arc<Module>, CallError> {
        let not_found = || CallError::ApplicationNotFound {
            application: id.to_string(),
        };
        self.directory.application(&id).ok_or_else(not_found)?;
        if let Some(module) = self.directory.module(&id) {
            return Ok(module);
        }
        let (promise, answer) = promise();
        let is_first = {
            let mut loading = self.loading.borrow_mut();
            let waiting = loading.entry(id).or_default();
            waiting.push(promise);
            waiting.len() == 1
        };
        if is_first {
            // For all who wait, so it goes on if the first one goes away.
            crate::rt::spawn(Rc::clone(self).load_module(id));
        }
        let module = answer
            .await
            .ok_or_else(|| CallError::bug("a module's load was forgotten"))??;
        // It may have been removed meanwhile.
        self.directory.application(&id).ok_or_else(not_found)?;
        Ok(module)
    }

    async fn load_module(self: Rc<Self>, id: ApplicationId) {
        let loaded = self.mesh.load(Task::Load(id)).await;
        if let Ok(module) = &loaded
            && self.directory.application(&id).is_some()
        {
            self.directory.keep_module(id, Arc::clone(module));
        }
        let waiting = self.loading.borrow_mut().remove(&id);
        for promise in waiting.unwrap_or_default() {
            promise.keep(loaded.clone());
        }
    }

    /// Forgets the least recently called context that may go, and with it its warm
    /// instances. What no snapshot shows is in memory only, so a context that has
    /// any stays, where it is.
    pub(crate) fn forget_one(&self) -> bool {
        let mut contexts = self.contexts.borrow_mut();
        let mut oldest = contexts.iter().take(EVICTION_TRIES).map(|(_, c)| c);
        let found = oldest.find(|c| is_unused(c) && c.is_shown()).map(Rc::clone);
        if let Some(context) = &found {
            contexts.remove(&context.id);
            self.add_up_gone(context);
            self.evict(context);
            self.stats.live_contexts.set(contexts.len() as u64);
        }
        found.is_some()
    }

    /// Gives up the warm instances of the least recently called context that
    /// nobody uses. Tells whether there was one. The context stays: those that
    /// have no instance to give would be forgotten in vain.
    pub(crate) fn cool_one(&self) -> bool {
        let found = self.warm.coldest(is_unused);
        if let Some(context) = &found {
            self.evict(context);
        }
        found.is_some()
    }

    fn evict(&self, context: &Context) {
        let warm = context.warm.borrow().len();
        self.stats.evictions.add(warm as u64);
        self.drop_warm(context);
    }

    pub(crate) fn count_live(&self) {
        let live = self.contexts.borrow().len();
        self.stats.live_contexts.set(live as u64);
    }

    pub(crate) fn drop_warm(&self, context: &Context) {
        context.warm.take();
        self.warm.remove(context);
    }
}

/// A turn goes on without the caller who began it.
pub(crate) fn is_unused(context: &Context) -> bool {
    context.is_idle() && !context.in_line.get() && !context.updating.get()
}
