//! `corelet:app/calls`: queries of other contexts. Who answers them, and which are refused, is
//! decided by whoever runs the turn (see `guest_calls.rs`); here are the limits and the price.

use wasmtime::component::{Linker, WasmStr};

use super::is_json;
use super::storage::Bytes;
use crate::costs;
use crate::failure::Failure;
use crate::guest_calls::{QueryError, Question};
use crate::host_context::{Cx, HostContext, Phase, answer, charge_answer, enter};
use crate::world::{self, RawQueryError};

/// What a guest is told.
type RawAnswer = Result<Vec<u8>, RawQueryError>;

pub(super) fn add_to(linker: &mut Linker<HostContext>) -> wasmtime::Result<()> {
    let mut interface = linker.instance(world::CALLS)?;
    interface.func_wrap_async("query", |cx, args: (Bytes, WasmStr, Bytes)| {
        let (context, method, args) = args;
        Box::new(query(cx, context, method, args))
    })
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
    let outcome = answered.outcome.map(Vec::from);
    Ok((outcome.map_err(RawQueryError::from),))
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
