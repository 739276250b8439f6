//! What is still to be done for a context: its timers, the calls that it has sent, and the events to
//! which its handlers have subscribed.

use std::borrow::Cow;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use corelet_shard::{SentCallInfo, SentNumber, WhichSubscriptions};
use corelet_store::ContextId;
use corelet_wasm_host::{GuestSubscription, GuestTimer};
use percent_encoding::percent_decode_str;

use super::{Door, Named, at_home};
use crate::api;
use crate::http::parameters::{bad_parameter, limit_of, parameters};
use crate::http::reply::document;
use crate::refusal::Refusal;

/// The timers that a context has armed. A page has fewer than `limit` if these are long.
pub(super) async fn list_timers(
    State(door): State<Door>,
    Named(wanted): Named,
    RawQuery(query): RawQuery,
) -> Response {
    at_home(door, async move |front| {
        let [after, limit] = parameters(query.as_deref(), ["after", "limit"])?;
        let limit = limit_of(limit)?;
        let name = |after| percent_decode_str(after).decode_utf8();
        let must = |_| bad_parameter("after", "after must be the name of a timer");
        let after = after.map(|after| name(after).map_err(must)).transpose()?;
        let after = after.map(Cow::into_owned);
        let id = front.shard.resolve(&wanted)?;
        let (found, more) = front.shard.timers(id, after, limit).await?;
        let next = found.last().filter(|_| more).map(|it| it.name.clone());
        let timers = found.into_iter().map(timer).collect();
        Ok(document(StatusCode::OK, &api::Timers { timers, next }))
    })
    .await
}

fn timer(timer: GuestTimer) -> api::Timer {
    const NANOS_PER_MILLI: u64 = 1_000_000;
    let args = String::from_utf8(timer.args).ok();
    let args = args.and_then(|args| serde_json::value::RawValue::from_string(args).ok());
    api::Timer {
        name: timer.name,
        handler: timer.handler,
        // It was JSON when it was armed.
        args: args.unwrap_or_default(),
        at_unix_ms: timer.at_nanos / NANOS_PER_MILLI,
        every_ms: timer.every_nanos.map(|every| every / NANOS_PER_MILLI),
        attempts: timer.attempts,
    }
}

/// The calls that a context has sent to others and that have not ended. A page has fewer than
/// `limit` if these are long.
pub(super) async fn list_sent(
    State(door): State<Door>,
    Named(wanted): Named,
    RawQuery(query): RawQuery,
) -> Response {
    at_home(door, async move |front| {
        let [after, limit] = parameters(query.as_deref(), ["after", "limit"])?;
        let limit = limit_of(limit)?;
        let must = || bad_parameter("after", "after must be what a page gave as next");
        let after = after.map(|after| behind_sent(after).ok_or_else(must));
        let after = after.transpose()?;
        let id = front.shard.resolve(&wanted)?;
        let (found, more) = front.shard.sent_calls(id, after, limit).await?;
        let next = found.last().filter(|_| more);
        let next = next.map(|it| format!("{}/{}", it.to, it.number));
        let calls = found.into_iter().map(sent_call).collect();
        Ok(document(StatusCode::OK, &api::SentCalls { calls, next }))
    })
    .await
}

/// The receiver and the number of the last call of a page.
fn behind_sent(after: &str) -> Option<(ContextId, SentNumber)> {
    let after = percent_decode_str(after).decode_utf8().ok()?;
    let (to, number) = after.split_once('/')?;
    Some((to.parse().ok()?, SentNumber::parse(number)?))
}

fn sent_call(call: SentCallInfo) -> api::SentCall {
    const MICROS_PER_MILLI: u64 = 1_000;
    let args = String::from_utf8(call.args.into()).ok();
    let args = args.and_then(|args| serde_json::value::RawValue::from_string(args).ok());
    api::SentCall {
        name: call.number.to_string(),
        to: call.to.to_string(),
        method: call.method,
        // It was JSON when it was sent.
        args: args.unwrap_or_default(),
        callback: call.callback,
        sent_unix_ms: call.sent_micros / MICROS_PER_MILLI,
        depth: call.depth,
        attempts: call.attempts,
    }
}

/// What handlers of a context have subscribed to. There are few of them, so there are no pages.
pub(super) async fn list_subscriptions(State(door): State<Door>, Named(wanted): Named) -> Response {
    at_home(door, async move |front| {
        let id = front.shard.resolve(&wanted)?;
        let found = front.shard.subscriptions(id).await?;
        let subscriptions = found.into_iter().map(subscription).collect();
        Ok(document(
            StatusCode::OK,
            &api::Subscriptions { subscriptions },
        ))
    })
    .await
}

/// Ends those of them that are to a context's events, or a handler's, or both; all without that.
pub(super) async fn end_subscriptions(
    State(door): State<Door>,
    Named(wanted): Named,
    RawQuery(query): RawQuery,
) -> Response {
    at_home(door, async move |front| {
        let [from, handler] = parameters(query.as_deref(), ["from", "handler"])?;
        let source = from.map(|from| {
            let from = text_of(from, "from", "from must be the id or the name of a context")?;
            Ok::<_, Refusal>(front.shard.resolve(&from)?)
        });
        let must = "handler must be the name of a handler";
        let handler = handler.map(|handler| text_of(handler, "handler", must));
        let which = WhichSubscriptions {
            source: source.transpose()?,
            handler: handler.transpose()?,
        };
        let id = front.shard.resolve(&wanted)?;
        let ended = front.shard.end_subscriptions(id, which).await?;
        tracing::info!(context = %id, subscriptions = ended, "ended subscriptions");
        Ok(document(StatusCode::OK, &api::EndedSubscriptions { ended }))
    })
    .await
}

/// The value of a parameter that is a text.
fn text_of(value: &str, parameter: &str, must: &str) -> Result<String, Refusal> {
    let text = percent_decode_str(value).decode_utf8();
    let text = text.map_err(|_| bad_parameter(parameter, must))?;
    Ok(text.into_owned())
}

fn subscription(subscription: GuestSubscription) -> api::Subscription {
    api::Subscription {
        context: ContextId::from_bytes(subscription.context).to_string(),
        handler: subscription.handler,
        kind: subscription.kind,
        after: subscription.after,
        attempts: subscription.attempts,
    }
}
