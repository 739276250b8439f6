//! The subscriptions of an application that runs without a server, of which a test decides when they
//! are told of events. Part of `memory_host.rs`.

use crate::calls::ContextId;
use crate::events::{SubscribeError, Subscription};
use crate::memory_host::{
    AROUND_SUBSCRIPTION_BYTES, Call, SUBSCRIPTION_BYTES, SUBSCRIPTIONS, bound, refuse, with,
    with_writing,
};

/// Subscriptions in the order in which they were made. There are few.
pub(crate) type Subscriptions = Vec<Subscribed>;

/// What a handler is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subscribed {
    /// Whose events.
    pub(crate) source: ContextId,
    pub(crate) handler: String,
    pub(crate) kind: Option<String>,
    /// The number of the event up to which it was told; none before the end of the call that has
    /// subscribed, and before it is told for the first time of another context's.
    pub(crate) after: Option<u64>,
}

impl Subscribed {
    /// Whether it is the one to these events and this handler.
    pub(crate) fn is(&self, source: &ContextId, handler: &str) -> bool {
        self.source == *source && self.handler == handler
    }
}

impl Call {
    fn subscriptions_mut(&mut self) -> &mut Subscriptions {
        if self.subscriptions_before.is_none() {
            self.subscriptions_before = Some(self.state.subscriptions.clone());
        }
        &mut self.state.subscriptions
    }
}

pub(crate) fn subscribe(
    context: &ContextId,
    handler: &str,
    kind: Option<&str>,
    after: Option<u64>,
) -> Result<(), SubscribeError> {
    let bytes = (handler.len() + kind.map_or(0, str::len)) as u64;
    bound(SUBSCRIPTION_BYTES, bytes);
    with_writing(|call| {
        call.count_write(bytes + AROUND_SUBSCRIPTION_BYTES);
        if handler.is_empty() {
            refuse("a subscription without a handler".to_owned());
        }
        let new = Subscribed {
            source: *context,
            handler: handler.to_owned(),
            kind: kind.map(str::to_owned),
            after,
        };
        let mut all = call.state.subscriptions.iter();
        let place = all.position(|it| it.is(context, handler));
        if place.is_none() && call.state.subscriptions.len() as u64 >= SUBSCRIPTIONS.max {
            return Ok(Err(SubscribeError::TooMany));
        }
        let all = call.subscriptions_mut();
        match place {
            Some(place) => all[place] = new,
            None => all.push(new),
        }
        Ok(Ok(()))
    })
}

pub(crate) fn unsubscribe(context: &ContextId, handler: &str) -> bool {
    bound(SUBSCRIPTION_BYTES, handler.len() as u64);
    with_writing(|call| {
        call.count_write(handler.len() as u64);
        let all = call.subscriptions_mut();
        let before = all.len();
        all.retain(|it| !it.is(context, handler));
        Ok(all.len() < before)
    })
}

pub(crate) fn subscribed() -> Vec<Subscription> {
    with(|call| all_of(&call.state.subscriptions))
}

pub(crate) fn all_of(subscriptions: &[Subscribed]) -> Vec<Subscription> {
    let all = subscriptions.iter();
    all.map(|subscribed| Subscription {
        context: subscribed.source,
        handler: subscribed.handler.clone(),
        kind: subscribed.kind.clone(),
        after: subscribed.after,
        attempts: 0,
    })
    .collect()
}

/// What the server does before it tells a handler of events: the subscription goes on behind them, or
/// ends.
pub(crate) fn hear(context: &ContextId, handler: &str, until: Option<u64>) {
    with_writing(|call| {
        let all = call.subscriptions_mut();
        match until {
            None => all.retain(|it| !it.is(context, handler)),
            Some(until) => {
                let told = all.iter_mut().filter(|it| it.is(context, handler));
                told.for_each(|it| it.after = Some(until));
            }
        }
        Ok(())
    });
}
