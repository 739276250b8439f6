//! How a context forgets what it has taken of others, so that what it remembers is bounded: when it
//! is of too many, their shards are asked which of those calls have ended for good. A call that has
//! ended is not handed over again, and whoever is gone hands over nothing.

use std::rc::Rc;
use std::time::{Duration, Instant};

use corelet_store::ContextId;

use super::handing::failed;
use super::{Pair, SentNumber};
use crate::context::{Context, InUse};
use crate::error::CallError;
use crate::message::{Request, Response};
use crate::rt;
use crate::shard::Shard;
use crate::view::{SequenceAccess, View};

/// Senders that are looked at between two breaths.
const PAGE: usize = 16;

/// Senders that are forgotten with one commit.
const FORGOTTEN_AT_ONCE: usize = 256;

/// After one that was of little use, which is that it has freed fewer than one in so many: senders
/// whose calls do not end may keep all places.
const PAUSE: Duration = Duration::from_secs(1);
const OF_LITTLE_USE: usize = 8;

/// Whether what a context has taken of others is being gone through for what it can forget.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Forgetting {
    /// It is not.
    #[default]
    No,
    /// It is.
    Now,
    /// It is not, and not before.
    NotBefore(Instant),
}

impl Shard {
    /// Begins to forget what can be forgotten, unless somebody does already or has just tried.
    pub(super) fn forget_senders(self: &Rc<Self>, context: &InUse) {
        match context.forgetting.get() {
            Forgetting::Now => return,
            Forgetting::NotBefore(time) if Instant::now() < time => return,
            Forgetting::NotBefore(_) | Forgetting::No => context.forgetting.set(Forgetting::Now),
        }
        let shard = Rc::clone(self);
        let context = InUse::new(Rc::clone(context));
        rt::spawn(async move {
            let id = context.id;
            let forgotten = shard.try_to_forget(&context).await;
            shard.quarantine_if_damaged(id, &forgotten);
            if let Err(error) = &forgotten {
                tracing::warn!(context = %id, %error, "what a context has taken of others cannot be forgotten now, and is tried again with the next call that needs it");
            }
            let was_of_use = forgotten
                .is_ok_and(|(looked_at, forgotten)| forgotten * OF_LITTLE_USE >= looked_at);
            context.forgetting.set(match was_of_use {
                true => Forgetting::No,
                false => Forgetting::NotBefore(Instant::now() + PAUSE),
            });
        });
    }

    /// Tells at how many senders it has looked, and how many were forgotten.
    async fn try_to_forget(self: &Rc<Self>, context: &InUse) -> Result<(usize, usize), CallError> {
        let (mut after, mut ended) = (None, Vec::new());
        let (mut looked_at, mut all_ended) = (0, 0);
        loop {
            let page = self.durable_view(context).all_taken(after, PAGE);
            let page = page.map_err(failed)?;
            after = page.last().map(|(from, _)| *from);
            let is_last = page.len() < PAGE;
            looked_at += page.len();
            for (from, number) in page {
                let pair = Pair {
                    from,
                    to: context.id,
                };
                match self.ask_whether_ended(pair, number).await {
                    Ok(true) => ended.push((from, number)),
                    // Others ask as well; this one may be asked for another time.
                    Ok(false) | Err(CallError::Busy { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            if ended.len() >= FORGOTTEN_AT_ONCE || (is_last && !ended.is_empty()) {
                self.copier.cut().over().await;
                self.write_alone(context, |view| {
                    let forgotten = view.forget_taken(&ended)?;
                    Ok((forgotten > 0).then_some(None))
                })
                .await?;
                all_ended += ended.len();
                ended.clear();
            }
            if is_last {
                return Ok((looked_at, all_ended));
            }
            rt::yield_now().await;
        }
    }

    async fn ask_whether_ended(
        self: &Rc<Self>,
        pair: Pair,
        number: SentNumber,
    ) -> Result<bool, CallError> {
        let owner = self.owner(&pair.from);
        if owner == self.id {
            return self.has_ended_here(pair, number);
        }
        match self
            .mesh
            .ask(owner, Request::HasEnded { pair, number })
            .await?
        {
            Response::HasEnded(result) => result,
            _ => Err(CallError::bug("a shard answered another question")),
        }
    }

    /// Whether it is durable that no call of a pair up to this one will be handed over any more.
    pub(crate) fn has_ended_here(
        self: &Rc<Self>,
        pair: Pair,
        number: SentNumber,
    ) -> Result<bool, CallError> {
        // Of one that cannot be read nothing is known, and that is its own trouble.
        if self.check_service(pair.from).is_err() {
            return Ok(false);
        }
        let oldest = self.oldest_durably_sent(pair.from, pair.to);
        self.quarantine_if_damaged(pair.from, &oldest);
        Ok(match oldest {
            Ok(oldest) => oldest.is_none_or(|oldest| oldest > number),
            Err(_) => false,
        })
    }

    fn oldest_durably_sent(
        &self,
        from: ContextId,
        to: ContextId,
    ) -> Result<Option<SentNumber>, CallError> {
        let live: Option<Rc<Context>> = self.contexts.borrow().peek(&from).map(Rc::clone);
        let oldest = match live {
            Some(context) => self.durable_view(&context).oldest_sent(to),
            None => {
                let snapshot = self.snapshots.latest();
                let Some(record) = snapshot.context(&from)? else {
                    return Ok(None);
                };
                let access = SequenceAccess::without_cache(self.author);
                let view = View::of_query(record.slot, snapshot, Rc::default(), access);
                view.oldest_sent(to)
            }
        };
        Ok(oldest.map_err(failed)?.map(|(number, _)| number))
    }
}
