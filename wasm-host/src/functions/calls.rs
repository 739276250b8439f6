//! `corelet:app/calls`: queries of other contexts, and calls that are sent to their updates. Who
//! answers queries, and which are refused, is decided by whoever runs the turn (see
//! `guest_calls.rs`); what becomes of calls that are sent lives behind
//! [`GuestSends`](crate::GuestSends). Here are the limits and the price.

use wasmtime::component::{Linker, WasmStr};

use super::storage::{Bytes, answered, count_write};
use super::{is_json, is_shallow};
use crate::costs;
use crate::failure::{Failure, capped};
use crate::guest_calls::{QueryError, Question};
use crate::guest_sends::{NewCallback, NewSend, Sending, SentBounds};
use crate::host_context::{Cx, HostContext, Phase, answer, charge_answer, enter, with_state};
use crate::world::{self, RawCallback, RawQueryError, RawSendError};

/// What a guest is told.
type RawAnswer = Result<Vec<u8>, RawQueryError>;

/// The name of a call that was sent, or why it was not.
type RawSent = Result<String, RawSendError>;

/// What a call that is sent counts for among the bytes written, beside what it is made of: the id of
/// the other context, its number, and how much has been sent.
const AROUND_BYTES: u64 = 128;

pub(super) fn add_to(linker: &mut Linker<HostContext>) -> wasmtime::Result<()> {
    let mut interface = linker.instance(world::CALLS)?;
    interface.func_wrap_async("query", |cx, args: (Bytes, WasmStr, Bytes)| {
        let (context, method, args) = args;
        Box::new(query(cx, context, method, args))
    })?;
    type Send = (Bytes, WasmStr, Bytes, Option<RawCallback>);
    interface.func_wrap_async("send", |cx, args: Send| Box::new(send(cx, args)))
}

async fn query(
    mut cx: Cx<'_>,
    context: Bytes,
    method: WasmStr,
    args: Bytes,
) -> wasmtime::Result<(RawAnswer,)> {
    let cost = &costs::CALLS_QUERY;
    let handed = (method.to_str(&cx)?.len() + args.as_le_slice(&cx).len()) as u64;
    let max = cx.data().limits.args_bytes_max;
    cx.data_mut().bound("args_bytes_max", handed, max)?;
    enter(&mut cx, cost, handed).await?;
    let data = cx.data_mut();
    if data.phase != Phase::Query {
        return Err(data.stop(Failure::AskedInUpdate));
    }
    let (queries, max) = (data.line().count(), data.limits.query_calls_max);
    data.bound("query_calls_max", queries, max)?;
    data.used.reads.others = true;

    let args = bytes::Bytes::copy_from_slice(args.as_le_slice(&cx));
    if let Err(why) = is_object(&args) {
        let message = format!("the arguments of a query are {why}");
        return Err(cx.data_mut().stop(Failure::InvalidOutput { message }));
    }
    let question = Question {
        context: context.as_le_slice(&cx).try_into().ok(),
        method: method.to_str(&cx)?.into_owned(),
        args,
        caller: std::sync::Arc::clone(&cx.data().facts.caller),
        fuel_left: cx.get_fuel()?,
        queries,
    };
    cx.data().line().ask(question);
    let answered = answer(&mut cx).await;
    let bytes = match &answered.outcome {
        Ok(output) => output.len() as u64,
        Err(error) => error.bytes(),
    };
    let fuel = answered.fuel_used.saturating_add(cost.per_byte * bytes);
    charge_answer(&mut cx, fuel)?;
    if let Err(QueryError::TooDeep) = answered.outcome {
        cx.data().count_limit("query_depth_max");
    }
    let outcome = answered.outcome.map(Vec::from);
    Ok((outcome.map_err(RawQueryError::from),))
}

async fn send(
    mut cx: Cx<'_>,
    (context, method, args, callback): (Bytes, WasmStr, Bytes, Option<RawCallback>),
) -> wasmtime::Result<(RawSent,)> {
    let of_callback = match &callback {
        Some(callback) => callback.handler.to_str(&cx)?.len() + callback.data.len(),
        None => 0,
    };
    let bytes = (method.to_str(&cx)?.len() + args.len() + of_callback) as u64;
    let max = cx.data().limits.send_bytes_max;
    cx.data_mut().bound("send_bytes_max", bytes, max)?;
    enter(&mut cx, &costs::CALLS_SEND, bytes).await?;
    let data = cx.data_mut();
    if data.phase != Phase::Update {
        return Err(data.stop(Failure::WroteInQuery));
    }
    data.used.sends += 1;
    let (used, max) = (data.used.sends, data.limits.sends_max);
    data.bound("sends_max", used, max)?;
    count_write(&mut cx, bytes + AROUND_BYTES)?;

    let method = method.to_str(&cx)?.into_owned();
    let args = args.as_le_slice(&cx).to_vec();
    let handler = match &callback {
        Some(callback) => callback.handler.to_str(&cx)?.into_owned(),
        None => String::new(),
    };
    let handed = callback.map(|callback| callback.data.as_le_slice(&cx).to_vec());
    if let Some(message) = malformed(&method, &args, &handler, handed.as_deref()) {
        let message = capped(message);
        return Err(cx.data_mut().stop(Failure::InvalidOutput { message }));
    }
    let Ok(context) = context.as_le_slice(&cx).try_into() else {
        return Ok((Err(RawSendError::UnknownContext),));
    };
    let call = NewSend {
        context,
        method: &method,
        args: &args,
        callback: handed.as_deref().map(|data| NewCallback {
            handler: &handler,
            data,
        }),
    };
    let limits = &cx.data().limits;
    let bounds = SentBounds {
        calls_max: limits.sent_calls_max,
        bytes_max: limits.sent_bytes_max,
        depth_max: limits.sent_depth_max,
    };
    let sending = with_state(&mut cx, |state, _| state.send(call, bounds))?;
    Ok((match answered(&mut cx, sending)? {
        Sending::Sent(name) => Ok(name),
        Sending::TooMany { limit } => {
            cx.data().count_limit(limit);
            Err(RawSendError::TooMany)
        }
        Sending::TooDeep => {
            cx.data().count_limit("sent_depth_max");
            Err(RawSendError::TooDeep)
        }
    },))
}

/// What is wrong with the parts of a call that is to be sent, if anything is.
fn malformed(method: &str, args: &[u8], handler: &str, data: Option<&[u8]>) -> Option<String> {
    if method.is_empty() {
        return Some("a call without a method was sent".to_owned());
    }
    if let Err(why) = is_object(args) {
        return Some(format!("the arguments of a call that was sent are {why}"));
    }
    let data = data?;
    if handler.is_empty() {
        return Some("a callback without a handler".to_owned());
    }
    let why = is_json(data).and_then(|()| is_shallow(data)).err()?;
    Some(format!("the data of a callback are {why}"))
}

/// Whether `bytes` are what the world calls arguments.
fn is_object(bytes: &[u8]) -> Result<(), String> {
    is_json(bytes)?;
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    match first {
        Some(b'{') => Ok(()),
        _ => Err("not a JSON object".to_owned()),
    }
}

impl From<QueryError> for RawQueryError {
    fn from(error: QueryError) -> RawQueryError {
        match error {
            QueryError::UnknownContext => RawQueryError::UnknownContext,
            QueryError::UnknownMethod => RawQueryError::UnknownMethod,
            QueryError::NotAQuery => RawQueryError::NotAQuery,
            QueryError::Application(error) => RawQueryError::Application(error),
            QueryError::Failed(name) => RawQueryError::Failed(name),
            QueryError::Busy(limit) => RawQueryError::Busy(limit),
            QueryError::Cycle => RawQueryError::Cycle,
            QueryError::TooDeep => RawQueryError::TooDeep,
        }
    }
}
