//! `corelet:app/subscriptions`: of which events the context's handlers are told. What it means
//! lives behind [`GuestSubscriptions`](crate::GuestSubscriptions); here are the limits and the
//! price.

use wasmtime::component::{Linker, WasmStr};

use super::storage::{Bytes, answered, count_write};
use crate::costs;
use crate::failure::Failure;
use crate::guest_subscriptions::{GuestSubscription, NewSubscription, Subscribing};
use crate::host_context::{Cx, HostContext, Phase, charge, enter, slice_end, with_state};
use crate::world::{self, RawSubscribeError, RawSubscription};

/// What a guest is told.
type RawSubscribed = Result<(), RawSubscribeError>;

/// What a subscription counts for among the bytes written, beside the names of its handler and
/// kind: whose events, up to which, and that there is such a subscription.
const AROUND_BYTES: u64 = 192;

pub(super) fn add_to(linker: &mut Linker<HostContext>) -> wasmtime::Result<()> {
    type Subscribe = (Bytes, WasmStr, Option<WasmStr>, Option<u64>);
    let mut interface = linker.instance(world::SUBSCRIPTIONS)?;
    interface.func_wrap_async("subscribe", |cx, args: Subscribe| {
        Box::new(subscribe(cx, args))
    })?;
    interface.func_wrap_async("unsubscribe", |cx, args: (Bytes, WasmStr)| {
        let (context, handler) = args;
        Box::new(unsubscribe(cx, context, handler))
    })?;
    interface.func_wrap_async("subscribed", |cx, ()| Box::new(subscribed(cx)))
}

async fn subscribe(
    mut cx: Cx<'_>,
    (context, handler, kind, after): (Bytes, WasmStr, Option<WasmStr>, Option<u64>),
) -> wasmtime::Result<(RawSubscribed,)> {
    let handler_bytes = handler.to_str(&cx)?.len();
    let kind_bytes = match &kind {
        Some(kind) => kind.to_str(&cx)?.len(),
        None => 0,
    };
    let bytes = (handler_bytes + kind_bytes) as u64;
    let max = cx.data().limits.subscription_bytes_max;
    cx.data_mut().bound("subscription_bytes_max", bytes, max)?;
    enter(&mut cx, &costs::SUBSCRIPTIONS_SUBSCRIBE, bytes).await?;
    check_writer(&mut cx)?;
    count_write(&mut cx, bytes + AROUND_BYTES)?;
    if handler_bytes == 0 {
        let message = "a subscription without a handler".to_owned();
        return Err(cx.data_mut().stop(Failure::InvalidOutput { message }));
    }
    let Ok(context) = <[u8; 32]>::try_from(context.as_le_slice(&cx)) else {
        return Ok((Err(RawSubscribeError::UnknownContext),));
    };
    let handler = handler.to_str(&cx)?.into_owned();
    let kind = match &kind {
        Some(kind) => Some(kind.to_str(&cx)?.into_owned()),
        None => None,
    };
    let subscription = NewSubscription {
        context,
        is_own: context == cx.data().facts.context,
        handler: &handler,
        kind: kind.as_deref(),
        after,
    };
    let max = cx.data().limits.subscriptions_max;
    let subscribing = with_state(&mut cx, |state, _| state.subscribe(subscription, max))?;
    Ok((match answered(&mut cx, subscribing)? {
        Subscribing::Subscribed => Ok(()),
        Subscribing::TooMany => {
            cx.data().count_limit("subscriptions_max");
            Err(RawSubscribeError::TooMany)
        }
    },))
}

async fn unsubscribe(
    mut cx: Cx<'_>,
    context: Bytes,
    handler: WasmStr,
) -> wasmtime::Result<(bool,)> {
    let bytes = handler.to_str(&cx)?.len() as u64;
    let max = cx.data().limits.subscription_bytes_max;
    cx.data_mut().bound("subscription_bytes_max", bytes, max)?;
    enter(&mut cx, &costs::SUBSCRIPTIONS_UNSUBSCRIBE, bytes).await?;
    check_writer(&mut cx)?;
    count_write(&mut cx, bytes)?;
    let Ok(context) = <[u8; 32]>::try_from(context.as_le_slice(&cx)) else {
        return Ok((false,));
    };
    let handler = handler.to_str(&cx)?.into_owned();
    let ended = with_state(&mut cx, |state, _| state.unsubscribe(&context, &handler))?;
    Ok((answered(&mut cx, ended)?,))
}

async fn subscribed(mut cx: Cx<'_>) -> wasmtime::Result<(Vec<RawSubscription>,)> {
    let cost = &costs::SUBSCRIPTIONS_SUBSCRIBED;
    enter(&mut cx, cost, 0).await?;
    // There are few of them, and they are short.
    let found = with_state(&mut cx, |state, _| state.subscribed())?;
    let found = answered(&mut cx, found)?;
    let own = |it: &GuestSubscription| {
        let kind = it.kind.as_ref().map_or(0, String::len);
        (it.context.len() + it.handler.len() + kind) as u64
    };
    let rows = found.len() as u64;
    let bytes = found.iter().map(own).sum::<u64>();
    if charge(&mut cx, rows * cost.per_row + bytes * cost.per_byte)? {
        slice_end(&mut cx).await;
    }
    let raw = |it: GuestSubscription| RawSubscription {
        context: it.context.to_vec(),
        handler: it.handler,
        kind: it.kind,
        after: it.after,
        attempts: it.attempts,
    };
    Ok((found.into_iter().map(raw).collect(),))
}

fn check_writer(cx: &mut Cx<'_>) -> wasmtime::Result<()> {
    let data = cx.data_mut();
    match data.phase {
        Phase::Update => Ok(()),
        _ => Err(data.stop(Failure::WroteInQuery)),
    }
}
