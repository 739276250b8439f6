//! `corelet:app/timers`: what the context is to be called for later. What it means lives behind
//! [`GuestTimers`](crate::GuestTimers); here are the limits and the price.

use wasmtime::component::{Linker, WasmList, WasmStr};

use super::is_json;
use super::storage::{answered, count_write};
use crate::costs;
use crate::failure::{Failure, capped};
use crate::guest_timers::{Arming, GuestTimer, NewTimer};
use crate::host_context::{Cx, HostContext, Phase, charge, enter, slice_end, with_state};
use crate::world::{self, RawTimer};

/// What a timer counts for among the bytes written, beside its name, handler and arguments: the
/// times at which it runs, written twice.
const AROUND_BYTES: u64 = 64;

const NANOS_PER_MILLI: u64 = 1_000_000;
const NANOS_PER_MINUTE: u64 = 60_000_000_000;

pub(super) fn add_to(linker: &mut Linker<HostContext>) -> wasmtime::Result<()> {
    type Arm = (WasmStr, WasmStr, WasmList<u8>, u64, Option<u64>);
    let mut interface = linker.instance(world::TIMERS)?;
    interface.func_wrap_async("arm", |cx, args: Arm| Box::new(arm(cx, args)))?;
    interface.func_wrap_async("cancel", |cx, (name,): (WasmStr,)| {
        Box::new(cancel(cx, name))
    })?;
    interface.func_wrap_async("armed", |cx, args: (Option<WasmStr>, u32)| {
        let (after, limit) = args;
        Box::new(armed(cx, after, limit))
    })
}

async fn arm(
    mut cx: Cx<'_>,
    (name, handler, args, delay, every): (WasmStr, WasmStr, WasmList<u8>, u64, Option<u64>),
) -> wasmtime::Result<()> {
    let name = short(&mut cx, &name)?;
    let handler = short(&mut cx, &handler)?;
    let data = cx.data_mut();
    if name.is_empty() || handler.is_empty() {
        let message = "a timer without a name or without a handler".to_owned();
        return Err(data.stop(Failure::InvalidOutput { message }));
    }
    let args_max = data.limits.timer_args_bytes_max;
    data.bound("timer_args_bytes_max", args.len() as u64, args_max)?;
    let bytes = (name.len() + handler.len() + args.len()) as u64;
    enter(&mut cx, &costs::TIMERS_ARM, bytes).await?;
    check_writer(&mut cx)?;
    check_times(&mut cx, delay, every)?;
    count_write(&mut cx, 2 * name.len() as u64 + bytes + AROUND_BYTES)?;
    let args = args.as_le_slice(&cx).to_vec();
    if let Err(why) = is_json(&args) {
        let message = capped(format!("a timer's arguments are {why}"));
        return Err(cx.data_mut().stop(Failure::InvalidOutput { message }));
    }
    let timer = NewTimer {
        name: &name,
        handler: &handler,
        args: &args,
        delay_nanos: delay,
        every_nanos: every,
    };
    let max = cx.data().limits.timers_max;
    let arming = with_state(&mut cx, |state, _| state.arm(timer, max))?;
    match answered(&mut cx, arming)? {
        Arming::Armed => Ok(()),
        Arming::TooMany { used } => cx.data_mut().bound("timers_max", used, max),
    }
}

async fn cancel(mut cx: Cx<'_>, name: WasmStr) -> wasmtime::Result<(bool,)> {
    let name = short(&mut cx, &name)?;
    enter(&mut cx, &costs::TIMERS_CANCEL, name.len() as u64).await?;
    check_writer(&mut cx)?;
    count_write(&mut cx, 2 * name.len() as u64)?;
    let cancelled = with_state(&mut cx, |state, _| state.cancel(&name))?;
    Ok((answered(&mut cx, cancelled)?,))
}

async fn armed(
    mut cx: Cx<'_>,
    after: Option<WasmStr>,
    limit: u32,
) -> wasmtime::Result<(Vec<RawTimer>,)> {
    let after = match &after {
        Some(after) => Some(short(&mut cx, after)?),
        None => None,
    };
    let data = cx.data_mut();
    let rows_max = data.limits.scan_rows_max;
    data.bound("scan_rows_max", limit.into(), rows_max)?;
    let bytes_max = data.limits.scan_bytes_max;
    let cost = &costs::TIMERS_ARMED;
    let asked = after.as_ref().map_or(0, String::len) as u64;
    enter(&mut cx, cost, asked).await?;
    let mut found: Vec<RawTimer> = Vec::new();
    let (mut after, mut bytes) = (after, 0);
    while found.len() < limit as usize {
        // A few at a time, as each may have long arguments.
        let wanted = PAGE.min(limit as usize - found.len());
        let page = with_state(&mut cx, |state, _| state.timers(after.as_deref(), wanted))?;
        let page = answered(&mut cx, page)?;
        let is_last = page.timers.len() < wanted;
        let rows = page.timers.len() as u64 + page.walked;
        let own = |it: &GuestTimer| (it.name.len() + it.handler.len() + it.args.len()) as u64;
        // What was read is paid for, also what is too long for the answer.
        let price = rows * cost.per_row + page.timers.iter().map(own).sum::<u64>() * cost.per_byte;
        for timer in page.timers {
            let own = own(&timer);
            if !found.is_empty() && bytes + own > bytes_max {
                charge(&mut cx, price)?;
                return Ok((found,));
            }
            bytes += own;
            after = Some(timer.name.clone());
            found.push(RawTimer {
                name: timer.name,
                handler: timer.handler,
                args: timer.args,
                at: timer.at_nanos,
                every: timer.every_nanos,
                attempts: timer.attempts,
            });
        }
        if charge(&mut cx, price)? {
            slice_end(&mut cx).await;
        }
        if is_last {
            break;
        }
    }
    Ok((found,))
}

/// Timers that are read before the price is charged.
const PAGE: usize = 32;

/// A name, if it is not too long.
fn short(cx: &mut Cx<'_>, name: &WasmStr) -> wasmtime::Result<String> {
    let bytes = name.to_str(&*cx)?.len() as u64;
    let data = cx.data_mut();
    let max = data.limits.timer_name_bytes_max;
    data.bound("timer_name_bytes_max", bytes, max)?;
    Ok(name.to_str(&*cx)?.into_owned())
}

/// How far ahead a timer runs, and how often.
fn check_times(cx: &mut Cx<'_>, delay: u64, every: Option<u64>) -> wasmtime::Result<()> {
    let data = cx.data_mut();
    let ahead_max = data.limits.timer_ahead_max;
    let millis = |nanos: u64| nanos.div_ceil(NANOS_PER_MILLI);
    data.bound("timer_ahead_max", millis(delay), ahead_max)?;
    let Some(every) = every else { return Ok(()) };
    data.bound("timer_ahead_max", millis(every), ahead_max)?;
    let max = data.limits.timer_runs_per_minute;
    let runs = if every == 0 {
        u64::MAX
    } else {
        NANOS_PER_MINUTE.div_ceil(every)
    };
    data.bound("timer_runs_per_minute", runs, max)
}

fn check_writer(cx: &mut Cx<'_>) -> wasmtime::Result<()> {
    let data = cx.data_mut();
    match data.phase {
        Phase::Update => Ok(()),
        _ => Err(data.stop(Failure::WroteInQuery)),
    }
}
