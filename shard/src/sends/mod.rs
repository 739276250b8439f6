//! Calls that contexts send to others, from the agenda in which they lie to their end: exactly once in
//! effect, in order for each two contexts, across shards, kills and restarts
//! (`decisions/0011-calls-between-contexts.md`).
//!
//! The turn that sends a call writes it into the agenda of its context. When that is durable the
//! sender's shard hands the oldest call of each pair to the receiver's (`handing.rs`), which runs
//! it as an update and notes in the receiver's agenda, in the same commit, that it was taken and what it
//! came to (`taking.rs`). Told of that, the sender's shard takes the call from its agenda, together with
//! what the callback does. Whatever is handed over again after a crash is told what was noted. How
//! all that lies in agendas is in `row.rs`, what turns read and write of it in `view/sends.rs`; what
//! receivers forget, and when, in `forgetting.rs`.
//!
//! One task per shard waits until a pair has something to be handed over. Owned by the shard.

mod cut;
mod forgetting;
mod handing;
mod outcome;
mod row;
mod taking;

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use corelet_store::{ContextId, ContextSlot, Snapshot, StoreError};

pub(crate) use self::cut::Cut;
pub(crate) use self::forgetting::Forgetting;
pub(crate) use self::handing::{Word, failed};
pub(crate) use self::outcome::Outcome;
pub use self::row::SentNumber;
pub(crate) use self::row::{
    CallbackRow, SENT, SENT_SUM, SentRow, TAKEN, TAKEN_COUNT, TakenRow, sent_key, sent_prefix,
    split_sent, split_taken, taken_key,
};
use crate::context::Context;
use crate::contexts::failure_of;
use crate::due::{Next, Who};
use crate::error::CallError;
use crate::pacer::Pacer;
use crate::rt;
use crate::shard::Shard;
use crate::view::{SequenceAccess, View};

/// Agendas, or pairs of one context, that are looked at between two breaths.
const PAGE: usize = 64;

/// After agendas could not be looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// A page of sent calls has no further one behind so many bytes.
const PAGE_BYTES: usize = 256 << 10;

/// Who sends calls, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Pair {
    pub(crate) from: ContextId,
    pub(crate) to: ContextId,
}

/// What was sent lies in the sender's agenda.
impl Who for Pair {
    fn context(&self) -> ContextId {
        self.from
    }
}

/// The pairs of whose calls some may have to be handed over, and the task that waits for them.
pub(crate) type Sends = Pacer<Pair>;

/// A call on its way to the shard that owns its receiver.
#[derive(Clone, Debug)]
pub(crate) struct SentCall {
    pub(crate) from: ContextId,
    pub(crate) number: SentNumber,
    pub(crate) method: String,
    pub(crate) args: Bytes,
    /// How many calls in a row were sent each by the one before it, with this one.
    pub(crate) depth: u32,
    /// Whether somebody is told what it has come to.
    pub(crate) has_callback: bool,
}

/// A call that a context has sent to another, and that has not ended.
#[derive(Clone, Debug)]
pub struct SentCallInfo {
    /// The other context.
    pub to: ContextId,
    /// Its number, unique in its sender and larger than those before it.
    pub number: SentNumber,
    /// The method that is called.
    pub method: String,
    /// What it is called with.
    pub args: Bytes,
    /// The handler that is called when it has ended, if one is.
    pub callback: Option<String>,
    /// When it was sent, in microseconds since 1970.
    pub sent_micros: u64,
    /// How many calls in a row were sent each by the one before it, with this one.
    pub depth: u32,
    /// Attempts at its callback that have failed.
    pub attempts: u32,
}

/// As whom a context calls others. No token's subject begins so.
pub(crate) fn caller_of(context: ContextId) -> Arc<str> {
    Arc::from(format!("corelet:context/{context}"))
}

impl Shard {
    /// Hands calls over until the node begins to stop.
    pub(crate) async fn run_sends(self: Rc<Self>, draining: impl Future<Output = ()>) {
        let work = async {
            loop {
                self.serve_sends().await;
            }
        };
        futures_lite::future::or(draining, work).await;
    }

    /// Does what is due, and waits for what is next.
    async fn serve_sends(self: &Rc<Self>) {
        let now = self.clock.wall_micros();
        let next = self.sends.next(now);
        self.stats.sends_waiting.set(self.sends.len() as u64);
        self.stats.sends_held.set(self.sends.held() as u64);
        match next {
            Next::Start { who: pair, hint } => {
                let shard = Rc::clone(self);
                rt::spawn(async move {
                    let next = shard.hand_over(pair, hint).await;
                    let now = shard.clock.wall_micros();
                    shard.sends.end_in_order(pair, next, now);
                });
            }
            Next::At(at) => self.sends.changed_or_at(at, now).await,
            Next::Nothing => self.sends.changed().await,
            Next::Look => {
                let shard = Rc::clone(self);
                rt::spawn(async move {
                    // What was forgotten may be in no snapshot yet.
                    let newest = shard.commits.next_number().saturating_sub(1);
                    if shard.commits.until_shown(newest).await.is_some() {
                        shard.look_for_sends().await;
                    }
                });
            }
        }
    }

    /// Finds all pairs with calls that have not ended. If that fails it is tried again, and what is
    /// sent meanwhile is handed over all the same.
    async fn look_for_sends(self: &Rc<Self>) {
        let looked = self.try_look_for_sends().await;
        let now = self.clock.wall_micros();
        let again = looked.err().map(|error| {
            tracing::error!(shard = self.id.number(), %error, "cannot tell which contexts have sent calls; none that was sent before is handed over until that can be read");
            now + LOOK_AGAIN.as_micros() as u64
        });
        self.sends.looked(now, again);
    }

    async fn try_look_for_sends(self: &Rc<Self>) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let snapshot = self.snapshots.latest();
            let page = snapshot.agendas(SENT, after, PAGE)?;
            after = page.last;
            for entry in page.entries {
                // One without a head was deleted, and damage is met by whoever calls it.
                let Ok(head) = snapshot.head(entry.slot) else {
                    continue;
                };
                let first = split_sent(&entry.key);
                self.note_pairs(head.context, entry.slot, &snapshot, first)
                    .await;
            }
            if after.is_none() {
                return Ok(());
            }
            rt::breathe().await;
        }
    }

    /// Notes to whom a context has sent calls. Of one that cannot be read it is noted that there
    /// is `first`: whoever hands that over meets the damage.
    async fn note_pairs(
        &self,
        from: ContextId,
        slot: ContextSlot,
        snapshot: &Rc<Snapshot>,
        first: Option<(ContextId, SentNumber)>,
    ) {
        let note = |(to, number): &(ContextId, SentNumber)| {
            self.note_sent(Pair { from, to: *to }, number.micros());
        };
        let access = SequenceAccess::without_cache(self.author);
        let view = View::of_query(slot, Rc::clone(snapshot), Rc::default(), access);
        let mut after = None;
        loop {
            let Ok(page) = view.sent_to(after, PAGE) else {
                return first.iter().for_each(note);
            };
            page.iter().for_each(note);
            after = page.last().map(|(to, _)| *to);
            if page.len() < PAGE {
                return;
            }
            rt::yield_now().await;
        }
    }

    /// A pair may have a call to be handed over, which was sent at `sent`, in microseconds since 1970.
    pub(crate) fn note_sent(&self, pair: Pair, sent: u64) {
        // Stamps may be ahead of the wall.
        let at = sent.min(self.clock.wall_micros());
        self.sends.note_in_order(pair, at);
    }

    /// Looks at the calls of a context that is back in service.
    pub(crate) async fn note_sends_of(&self, id: ContextId) {
        let snapshot = self.snapshots.latest();
        if let Ok(Some(record)) = snapshot.context(&id) {
            self.note_pairs(id, record.slot, &snapshot, None).await;
        }
    }

    /// Notes how old the oldest call is that waits to be handed over.
    pub(crate) fn look_at_sends(&self) {
        let earliest = self.sends.earliest();
        let now = self.clock.wall_micros();
        let age = earliest.map_or(0, |earliest| now.saturating_sub(earliest));
        self.stats.sends_oldest_millis.set(age / 1_000);
    }

    /// What of a context's state is durable.
    pub(crate) fn durable_view(&self, context: &Context) -> View {
        let settled = context.overlay.borrow().settled();
        let access = SequenceAccess::without_cache(self.author);
        View::of_query(context.slot, self.snapshots.latest(), settled, access)
    }

    /// Up to `limit` calls of which it is durable that a context has sent them, and that have not
    /// ended, behind `after`, and whether there may be more. A page ends early for the sake of its bytes.
    pub(crate) fn sent_here(
        self: &Rc<Self>,
        id: ContextId,
        after: Option<(ContextId, SentNumber)>,
        limit: usize,
    ) -> Result<(Vec<SentCallInfo>, bool), CallError> {
        self.check_service(id)?;
        let end = self.read_sent(id, after, limit);
        self.quarantine_if_damaged(id, &end);
        end
    }

    fn read_sent(
        &self,
        id: ContextId,
        after: Option<(ContextId, SentNumber)>,
        limit: usize,
    ) -> Result<(Vec<SentCallInfo>, bool), CallError> {
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
        let page = view.sent_within(after, limit, PAGE_BYTES);
        let page = page.map_err(|error| CallError::guest(failure_of(error), &[]))?;
        let info = |(to, number, row): (ContextId, SentNumber, SentRow)| SentCallInfo {
            to,
            number,
            method: row.method,
            args: row.args,
            callback: row.callback.map(|callback| callback.handler),
            sent_micros: number.micros(),
            depth: row.depth,
            attempts: row.attempts,
        };
        Ok((page.calls.into_iter().map(info).collect(), page.more))
    }
}
