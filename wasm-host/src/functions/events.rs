//! `corelet:app/events`: what the application tells the world once the call is
//! committed. Kept with the turn until then.

use wasmtime::component::{Linker, WasmList, WasmStr};

use super::is_json;
use crate::costs;
use crate::failure::{Failure, capped};
use crate::host_context::{Cx, HostContext, Phase, enter};
use crate::turn::GuestEvent;
use crate::world;

pub(super) fn add_to(linker: &mut Linker<HostContext>) -> wasmtime::Result<()> {
    let mut interface = linker.instance(world::EVENTS)?;
    interface.func_wrap_async("emit", |cx, (kind, payload): (WasmStr, WasmList<u8>)| {
        Box::new(emit(cx, kind, payload))
    })
}

async fn emit(mut cx: Cx<'_>, kind: WasmStr, payload: WasmList<u8>) -> wasmtime::Result<()> {
    let kind_bytes = kind.to_str(&cx)?.len() as u64;
    let data = cx.data_mut();
    let kind_max = data.limits.event_kind_bytes_max;
    data.bound("event_kind_bytes_max", kind_bytes, kind_max)?;
    let bytes = kind_bytes + payload.len() as u64;
    enter(&mut cx, &costs::EVENTS_EMIT, bytes).await?;

    let data = cx.data_mut();
    if data.phase != Phase::Update {
        // An event is an effect, and a query has none.
        return Err(data.stop(Failure::WroteInQuery));
    }
    data.used.event_bytes += bytes;
    let (count, total) = (data.events.len() as u64 + 1, data.used.event_bytes);
    let (events_max, bytes_max) = (data.limits.events_max, data.limits.event_bytes_max);
    data.bound("events_max", count, events_max)?;
    data.bound("event_bytes_max", total, bytes_max)?;

    let payload = payload.as_le_slice(&cx).to_vec();
    if let Err(why) = is_json(&payload) {
        let message = capped(format!("an event's payload is {why}"));
        return Err(cx.data_mut().stop(Failure::InvalidOutput { message }));
    }
    let kind = kind.to_str(&cx)?.into_owned();
    cx.data_mut().events.push(GuestEvent { kind, payload });
    Ok(())
}
