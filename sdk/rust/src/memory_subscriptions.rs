//! The subscriptions of an application that runs without a server, of which a test decides when they
//! are told of events. Part of `memory_host.rs`.

use std::collections::BTreeMap;

use crate::calls::ContextId;
use crate::events::{SubscribeError, Subscription};
use crate::memory_host::{Call, with, with_writing};

/// Subscriptions by whose events they are to and the handler.
pub(crate) type Subscriptions = BTreeMap<(ContextId, String), Subscribed>;

/// What a handler is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subscribed {
    pub(crate) kind: Option<String>,
    /// The number of the event up to which it was told; none before the end of the call that has
    /// subscribed, and before it is told for the first time of another context's.
    pub(crate) after: Option<u64>,
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
    with_writing(|call| {
        let subscribed = Subscribed {
            kind: kind.map(str::to_owned),
            after,
        };
        let key = (*context, handler.to_owned());
        call.subscriptions_mut().insert(key, subscribed);
        Ok(Ok(()))
    })
}

pub(crate) fn unsubscribe(context: &ContextId, handler: &str) -> bool {
    let key = (*context, handler.to_owned());
    with_writing(|call| Ok(call.subscriptions_mut().remove(&key).is_some()))
}

pub(crate) fn subscribed() -> Vec<Subscription> {
    with(|call| all_of(&call.state.subscriptions))
}

pub(crate) fn all_of(subscriptions: &Subscriptions) -> Vec<Subscription> {
    let all = subscriptions.iter();
    all.map(|((context, handler), subscribed)| Subscription {
        context: *context,
        handler: handler.clone(),
        kind: subscribed.kind.clone(),
        after: subscribed.after,
        attempts: 0,
    })
    .collect()
}

/// What the server does before it tells a handler of events: the subscription goes on behind them, or
/// ends.
pub(crate) fn hear(context: &ContextId, handler: &str, until: Option<u64>) {
    let key = (*context, handler.to_owned());
    with_writing(|call| {
        let subscriptions = call.subscriptions_mut();
        match (subscriptions.get_mut(&key), until) {
            (Some(subscribed), Some(until)) => subscribed.after = Some(until),
            (Some(_), None) => drop(subscriptions.remove(&key)),
            (None, _) => {}
        }
        Ok(())
    });
}
