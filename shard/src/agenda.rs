//! What a change writes into the agenda of its context, so that the shard knows of it: timers that
//! were armed, calls that were sent, and handlers that were subscribed to events. Most changes write
//! nothing there.

use corelet_store::{CallEffects, ContextId, Op, Space, Write};

use crate::sends::{Pair, SentNumber, split_sent};
use crate::shard::Shard;
use crate::subscriptions::{SUBSCRIBED, SubscriptionKey, SubscriptionRow};
use crate::timers::split_due;

/// What was put into an agenda.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    /// When the first of the timers runs.
    timer: Option<u64>,
    timers: u64,
    sent: Vec<(ContextId, SentNumber)>,
    /// Handlers that were subscribed, and those that are so no longer.
    subscribed: Vec<SubscriptionKey>,
    unsubscribed: Vec<SubscriptionKey>,
}

impl Agenda {
    /// Of these effects; none if they put nothing there that is to be known, and end no subscription.
    pub(crate) fn of(effects: &CallEffects) -> Option<Agenda> {
        let is_put = |op: &&Op| {
            op.space == Space::Agenda
                && match op.write {
                    Write::Set(_) => true,
                    _ => op.key.starts_with(SUBSCRIBED),
                }
        };
        let mut put = effects.ops.iter().filter(is_put).peekable();
        put.peek()?;
        let mut agenda = Agenda::default();
        for op in put {
            if let Some((at, _)) = split_due(&op.key) {
                agenda.timers += 1;
                agenda.timer = Some(agenda.timer.map_or(at, |first| first.min(at)));
            } else if let Some(sent) = split_sent(&op.key) {
                agenda.sent.push(sent);
            } else if let Some(key) = SubscriptionKey::split(&op.key) {
                match &op.write {
                    Write::Set(row) if SubscriptionRow::is_of_new(row) => {
                        agenda.subscribed.push(key);
                    }
                    // It has been moved on.
                    Write::Set(_) => {}
                    _ => agenda.unsubscribed.push(key),
                }
            }
        }
        Some(agenda)
    }

    /// When the first timer runs that was armed.
    pub(crate) fn timer(&self) -> Option<u64> {
        self.timer
    }
}

impl Shard {
    /// Knows of what a change of a context puts into its agenda, which may be on its way to the
    /// disk still.
    pub(crate) fn note_agenda(&self, context: ContextId, agenda: Option<Agenda>) {
        let Some(agenda) = agenda else { return };
        if let Some(at) = agenda.timer {
            self.stats.timers_armed.add(agenda.timers);
            self.timers.note(context, at);
        }
        self.stats.sends_made.add(agenda.sent.len() as u64);
        for (to, number) in agenda.sent {
            let pair = Pair { from: context, to };
            self.note_sent(pair, number.micros());
        }
        self.stats
            .subscriptions_made
            .add(agenda.subscribed.len() as u64);
        for key in agenda.subscribed {
            self.note_subscribed(context, key);
        }
        for key in agenda.unsubscribed {
            self.note_subscription(context, key);
        }
    }
}
