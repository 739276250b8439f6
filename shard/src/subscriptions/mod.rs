//! What contexts subscribe to: their handlers are told of events, of their own contexts or of others,
//! exactly once in effect, in order, across shards, kills and restarts
//! (`decisions/0015-subscriptions.md`).
//!
//! A subscription lies in the agenda of the context whose handler is told, with the number of the
//! event up to which it was. The shard of that context, the listener, asks the one of the
//! context whose events they are, the source, what there is behind that (`source.rs`), and runs the
//! handler with it as an update, whose changeset has the new number (`hearing.rs`). So nothing of it
//! is at the source, but in memory which shards want to be told when there are new events
//! (`listeners.rs`), and how often they look for
//! nothing (`passes.rs`). How
//! a subscription lies in the agenda is in `row.rs`, how an operator ends one in `ended.rs`, what turns read and write of it in
//! `view/subscriptions.rs`, what a handler gets in `told.rs`.
//!
//! One task per shard waits until there is something to be told. Owned by the shard.

mod ended;
mod hearing;
mod known;
mod listeners;
mod passes;
mod row;
mod source;
mod told;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use corelet_store::{ContextId, ContextSlot, Snapshot, StoreError};
use corelet_wasm_host::GuestSubscription;

pub use self::ended::WhichSubscriptions;
use self::known::Known;
pub(crate) use self::listeners::Listeners;
use self::passes::Passes;
pub(crate) use self::row::{Asked, Place, Point, SUBSCRIBED, SUBSCRIBED_ALL};
pub(crate) use self::row::{SubscriptionKey, SubscriptionRow, Tried};
pub(crate) use self::told::{Told, Wanted};
use crate::bounds::SubscriptionBounds;
use crate::due::{Next, Who};
use crate::error::CallError;
use crate::pacer::Pacer;
use crate::rt;
use crate::sends::failed;
use crate::shard::Shard;
use crate::view::{SequenceAccess, View, shown_subscription};

/// Agendas that are looked at between two breaths, and subscriptions.
const PAGE: usize = 64;
const PAGE_SUBSCRIPTIONS: usize = 256;

/// After agendas could not be looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// A subscription of a context of this shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Subscription {
    /// Whose handler is told.
    pub(crate) listener: ContextId,
    pub(crate) key: SubscriptionKey,
}

/// It lies in the listener's agenda.
impl Who for Subscription {
    fn context(&self) -> ContextId {
        self.listener
    }
}

/// The subscriptions of a shard for which there may be something to be told, and what is known of
/// the others; and what others look at here for nothing.
pub(crate) struct Subscriptions {
    pacer: Pacer<Subscription>,
    known: RefCell<Known>,
    passes: Passes,
}

impl Subscriptions {
    pub(crate) fn new(bounds: &SubscriptionBounds) -> Subscriptions {
        Subscriptions {
            pacer: Pacer::new(bounds.pace()),
            known: RefCell::default(),
            passes: Passes::new(bounds.passes_per_second),
        }
    }

    /// Whether a handler is being told something.
    pub(crate) fn is_running(&self) -> bool {
        self.pacer.is_running()
    }

    /// Some of those to the events of a context, behind one of them.
    fn listening_to(&self, source: &ContextId, after: Option<Subscription>) -> Vec<Subscription> {
        let known = self.known.borrow();
        known.of(source, after, PAGE_SUBSCRIPTIONS)
    }

    /// Forgets all that a context has subscribed to, which is gone.
    pub(crate) fn forget_listener(&self, listener: ContextId) {
        self.known.borrow_mut().forget_listener(listener);
    }
}

impl Shard {
    /// Tells handlers of events until the node begins to stop.
    pub(crate) async fn run_subscriptions(self: Rc<Self>, draining: impl Future<Output = ()>) {
        let work = async {
            loop {
                self.serve_subscriptions().await;
            }
        };
        futures_lite::future::or(draining, work).await;
    }

    /// Does what is due, and waits for what is next.
    async fn serve_subscriptions(self: &Rc<Self>) {
        let now = self.clock.wall_micros();
        let pacer = &self.subscriptions.pacer;
        let next = pacer.next(now);
        self.stats.subscriptions_waiting.set(pacer.len() as u64);
        let known = self.subscriptions.known.borrow().len();
        self.stats.subscriptions_known.set(known as u64);
        match next {
            Next::Start { who, hint } => {
                let shard = Rc::clone(self);
                rt::spawn(async move {
                    let next = shard.hear(who, hint).await;
                    let now = shard.clock.wall_micros();
                    shard.subscriptions.pacer.end_in_order(who, next, now);
                });
            }
            Next::At(at) => pacer.changed_or_at(at, now).await,
            Next::Nothing => pacer.changed().await,
            Next::Look => {
                let shard = Rc::clone(self);
                rt::spawn(async move {
                    // What was forgotten may be in no snapshot yet.
                    let newest = shard.commits.next_number().saturating_sub(1);
                    if shard.commits.until_shown(newest).await.is_some() {
                        shard.look_for_subscriptions().await;
                    }
                });
            }
        }
    }

    /// Finds all subscriptions. If that fails it is tried again, and those that are made meanwhile
    /// are served all the same.
    async fn look_for_subscriptions(self: &Rc<Self>) {
        let looked = self.try_look_for_subscriptions().await;
        let now = self.clock.wall_micros();
        let again = looked.err().map(|error| {
            tracing::error!(shard = self.id.number(), %error, "cannot tell which contexts have subscriptions; handlers that subscribed before are told nothing until that can be read");
            now + LOOK_AGAIN.as_micros() as u64
        });
        self.subscriptions.pacer.looked(now, again);
    }

    async fn try_look_for_subscriptions(self: &Rc<Self>) -> Result<(), StoreError> {
        let (mut after, mut noted) = (None, 0);
        loop {
            let snapshot = self.snapshots.latest();
            let page = snapshot.agendas(SUBSCRIBED_ALL, after, PAGE)?;
            after = page.last;
            for entry in page.entries {
                // One without a head was deleted, and damage is met by whoever calls it.
                let Ok(head) = snapshot.head(entry.slot) else {
                    continue;
                };
                noted += self.note_subscriptions(head.context, entry.slot, &snapshot);
                if noted >= PAGE_SUBSCRIPTIONS {
                    noted = 0;
                    rt::yield_now().await;
                }
            }
            if after.is_none() {
                return Ok(());
            }
            rt::breathe().await;
        }
    }

    /// Notes all subscriptions of a context, and tells how many there are. One whose list of them is
    /// damaged is out of service from now on.
    fn note_subscriptions(
        self: &Rc<Self>,
        listener: ContextId,
        slot: ContextSlot,
        snapshot: &Rc<Snapshot>,
    ) -> usize {
        let access = SequenceAccess::without_cache(self.author);
        let mut view = View::of_query(slot, Rc::clone(snapshot), Rc::default(), access);
        let keys = view.subscription_keys().map_err(failed);
        self.quarantine_if_damaged(listener, &keys);
        let keys = keys.unwrap_or_default();
        for key in &keys {
            self.note_subscription(listener, *key);
        }
        keys.len()
    }

    /// There may be something to be told for a subscription. One that waits, as something was in the way,
    /// goes on waiting.
    pub(crate) fn note_subscription(&self, listener: ContextId, key: SubscriptionKey) {
        let subscription = Subscription { listener, key };
        let now = self.clock.wall_micros();
        self.subscriptions.pacer.note_in_order(subscription, now);
    }

    /// A handler was subscribed, or is so no longer. If it was so before, what was in the way of that is not in
    /// the way of this.
    pub(crate) fn note_subscribed(&self, listener: ContextId, key: SubscriptionKey) {
        let subscription = Subscription { listener, key };
        let now = self.clock.wall_micros();
        self.subscriptions.pacer.note_anew(subscription, now);
    }

    /// Looks at the subscriptions of a context that is back in service.
    pub(crate) fn note_subscriptions_of(self: &Rc<Self>, id: ContextId) {
        let snapshot = self.snapshots.latest();
        if let Ok(Some(record)) = snapshot.context(&id) {
            self.note_subscriptions(id, record.slot, &snapshot);
        }
    }

    /// Takes in that there are new events of these contexts. Gives those to which nobody listens here.
    pub(crate) async fn hear_of_here(&self, sources: Vec<ContextId>) -> Vec<ContextId> {
        let mut unheard = Vec::new();
        let mut noted = 0;
        for source in sources {
            let mut after = None;
            loop {
                let those = self.subscriptions.listening_to(&source, after);
                if those.is_empty() && after.is_none() {
                    unheard.push(source);
                }
                let now = self.clock.wall_micros();
                for subscription in &those {
                    self.subscriptions.pacer.note_in_order(*subscription, now);
                }
                // Others have something to do as well, where many listen to one.
                noted += those.len();
                if noted >= PAGE_SUBSCRIPTIONS {
                    noted = 0;
                    rt::breathe().await;
                }
                if those.len() < PAGE_SUBSCRIPTIONS {
                    break;
                }
                after = those.last().copied();
            }
        }
        unheard
    }

    /// All subscriptions of which it is durable that a context has them.
    pub(crate) fn subscriptions_here(
        self: &Rc<Self>,
        id: ContextId,
    ) -> Result<Vec<GuestSubscription>, CallError> {
        self.check_service(id)?;
        let end = self.read_subscriptions(id);
        self.quarantine_if_damaged(id, &end);
        end
    }

    fn read_subscriptions(&self, id: ContextId) -> Result<Vec<GuestSubscription>, CallError> {
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
        let found = view.subscriptions().map_err(failed)?;
        let shown = |(_, row)| shown_subscription(row);
        Ok(found.into_iter().map(shown).collect())
    }
}
