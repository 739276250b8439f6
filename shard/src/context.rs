//! One live context: what a shard keeps in memory of a context that is being
//! called. A context that is not called costs no memory at all.
//!
//! Owned by the shard that owns the context. Who runs next is decided in
//! `schedule.rs`, what a turn does in `turn.rs`.

use std::cell::{Cell, Ref, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use corelet_store::{ApplicationId, Committed, ContextId, ContextSlot, Reuse, Standing};
use corelet_wasm_host::Module;

use crate::events::EventRecord;
use crate::fair::Share;
use crate::keyed::KeyedCalls;
use crate::large::Large;
use crate::overlay::Overlay;
use crate::rate::Rate;
use crate::ready::Ready;
use crate::schedule::Exclusive;
use crate::sends::Forgetting;
use crate::statistics::Counts;
use crate::warm_sum::Kept;

/// What a context runs.
pub(crate) struct Code {
    pub(crate) application: ApplicationId,
    /// Whether it keeps instances: its application's setting, as it is now.
    pub(crate) reuse: Rc<Cell<Reuse>>,
    pub(crate) module: Arc<Module>,
}

/// A live context.
pub(crate) struct Context {
    pub(crate) id: ContextId,
    pub(crate) slot: ContextSlot,
    code: RefCell<Code>,
    /// How often that was another's since the context came into memory: what was looked up in it
    /// has to be looked up anew when this has changed.
    pub(crate) upgrades: Cell<u32>,
    /// Instances that served this context and will again.
    pub(crate) warm: RefCell<Vec<Kept>>,
    /// The number of its last call, and the one it has in the order of the warm
    /// contexts if it is there (`warm_order.rs`).
    pub(crate) called: Cell<u64>,
    pub(crate) place: Cell<Option<u64>>,
    /// Writes that no snapshot shows yet.
    pub(crate) overlay: Rc<RefCell<Overlay>>,
    /// Calls with a key that no snapshot shows yet.
    pub(crate) keyed: RefCell<KeyedCalls>,
    /// Durable events that no snapshot shows yet.
    pub(crate) events: RefCell<Large<VecDeque<EventRecord>>>,
    /// How many changes its updates have sent to the disk: each has its number.
    pub(crate) changes: Cell<u64>,
    /// How many of them are on their way.
    pub(crate) uncommitted: Cell<u32>,
    /// How many of them write, and so will change the state's version.
    pub(crate) unsettled_writes: Cell<u32>,
    /// The state as committed.
    pub(crate) standing: Cell<Standing>,
    /// Grows when effects that a running turn may have seen were lost. Numbers of
    /// the whole shard, so that they do not begin anew with the context.
    pub(crate) losses: Cell<u64>,
    /// Callers on their way to a turn or waiting for its answer. A turn in the
    /// line may outlive its caller.
    pub(crate) in_use: Cell<u32>,
    /// How often it is called.
    pub(crate) rate: Rate,
    /// Runs of its timers, which calls do not keep out.
    pub(crate) timer_rate: Rate,
    /// Calls that other contexts have sent it, which others do not keep out either.
    pub(crate) send_rate: Rate,
    /// How many of these wait or run.
    pub(crate) taking: Cell<usize>,
    /// Times that handlers of it are told of events, which others do not keep out either.
    pub(crate) hearing_rate: Rate,
    /// Whether somebody looks for what it can forget of calls that it has taken.
    pub(crate) forgetting: Cell<Forgetting>,
    /// What was counted of its calls and is not kept yet.
    pub(crate) counts: Counts,
    /// Whether the context was deleted while calls were waiting.
    pub(crate) deleted: Cell<bool>,

    // The scheduler's part.
    /// Whether somebody has its state for himself: an update between its first and its last
    /// slice, most often.
    pub(crate) updating: Cell<bool>,
    /// Who waits for that.
    pub(crate) updates: RefCell<VecDeque<Exclusive>>,
    /// What can run as soon as it is this context's turn.
    pub(crate) ready: RefCell<Ready>,
    /// Whether it waits in the scheduler's line.
    pub(crate) in_line: Cell<bool>,
    /// Its part of what the shard has to give.
    pub(crate) share: Share,
}

impl Context {
    pub(crate) fn new(
        id: ContextId,
        slot: ContextSlot,
        code: Code,
        standing: Standing,
        losses: u64,
    ) -> Rc<Context> {
        Rc::new(Context {
            id,
            slot,
            code: RefCell::new(code),
            upgrades: Cell::new(0),
            warm: RefCell::default(),
            called: Cell::new(0),
            place: Cell::new(None),
            overlay: Rc::default(),
            keyed: RefCell::default(),
            events: RefCell::default(),
            changes: Cell::new(0),
            uncommitted: Cell::new(0),
            unsettled_writes: Cell::new(0),
            standing: Cell::new(standing),
            losses: Cell::new(losses),
            in_use: Cell::new(0),
            rate: Rate::default(),
            timer_rate: Rate::default(),
            send_rate: Rate::default(),
            taking: Cell::new(0),
            hearing_rate: Rate::default(),
            forgetting: Cell::default(),
            counts: Counts::default(),
            deleted: Cell::new(false),
            updating: Cell::new(false),
            updates: RefCell::default(),
            ready: RefCell::default(),
            in_line: Cell::new(false),
            share: Share::default(),
        })
    }

    /// What it runs now. Not to be kept over an await.
    pub(crate) fn code(&self) -> Ref<'_, Code> {
        self.code.borrow()
    }

    /// Runs other code from now on: that this is so has just become durable. What has begun with
    /// the code before ends with it, and leaves no instance.
    pub(crate) fn install(&self, code: Code) {
        let upgrades = self.upgrades.get().wrapping_add(1);
        let before = self.code.replace(code);
        let before = before.module.description().methods();
        let code = self.code.borrow();
        let now = code.module.description();
        let methods = now.methods().len();
        self.counts
            .upgrade(methods, upgrades, |place| match before.get(place) {
                Some(method) => now.place_of(&method.name),
                // Of handlers.
                None if place == before.len() => Some(methods),
                None => None,
            });
        self.upgrades.set(upgrades);
        self.warm.take();
    }

    /// The number of the last change that is durable, with all before it.
    pub(crate) fn settled(&self) -> u64 {
        self.changes.get() - u64::from(self.uncommitted.get())
    }

    /// Notes that a call of this context is durable, and tells whether it has told events. One that
    /// only this node knows of has no delta, and a state of its own all the same.
    pub(crate) fn advance(&self, committed: &mut Committed) -> bool {
        self.standing.set(committed.standing());
        if let Some((key, kept)) = committed.take_kept() {
            self.keyed.borrow_mut().settle(key, kept);
        }
        let Some(delta_id) = committed.delta_id() else {
            return false;
        };
        let hlc = committed.hlc();
        let told = committed.take_events();
        let has_told = !told.is_empty();
        let told = told.into_iter().map(|told| EventRecord {
            sequence: told.sequence,
            delta_id,
            hlc,
            kind: told.event.kind,
            payload: told.event.payload,
        });
        self.events.borrow_mut().extend(told);
        has_told
    }

    /// Forgets what is durable: the shard's snapshot shows it.
    pub(crate) fn shown(&self) {
        self.overlay.borrow_mut().shown();
        self.keyed.borrow_mut().shown();
        self.events.take();
    }

    /// Notes that uncommitted effects are gone: what has seen them must fail.
    pub(crate) fn lose_effects(&self, losses: u64) {
        self.overlay.borrow_mut().lose_pending();
        self.losses.set(losses);
    }

    /// Whether nothing is running, waiting or on its way to the disk.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_use.get() == 0 && self.uncommitted.get() == 0
    }

    /// Whether all that is durable of it can be read from the disk.
    pub(crate) fn is_shown(&self) -> bool {
        self.overlay.borrow().is_shown()
            && self.keyed.borrow().is_shown()
            && self.events.borrow().is_empty()
    }

    /// Calls that wait here.
    pub(crate) fn waiting(&self) -> usize {
        self.updates.borrow().len() + self.ready.borrow().len()
    }
}

/// Keeps a context from being evicted while somebody is about to use it.
pub(crate) struct InUse(Rc<Context>);

impl InUse {
    pub(crate) fn new(context: Rc<Context>) -> InUse {
        context.in_use.set(context.in_use.get() + 1);
        InUse(context)
    }
}

impl std::ops::Deref for InUse {
    type Target = Rc<Context>;

    fn deref(&self) -> &Rc<Context> {
        &self.0
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.in_use.set(self.0.in_use.get() - 1);
    }
}
