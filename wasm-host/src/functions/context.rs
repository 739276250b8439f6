//! `corelet:app/context`: facts about the turn. They are fixed when it begins.

use std::sync::Arc;

use wasmtime::component::Linker;

use crate::costs;
use crate::host_context::{Cx, HostContext, enter};
use crate::world;

pub(super) fn add_to(linker: &mut Linker<HostContext>) -> wasmtime::Result<()> {
    let mut interface = linker.instance(world::CONTEXT)?;
    interface.func_wrap_async("id", |cx, ()| Box::new(id(cx)))?;
    interface.func_wrap_async("caller", |cx, ()| Box::new(caller(cx)))?;
    interface.func_wrap_async("author", |cx, ()| Box::new(author(cx)))?;
    interface.func_wrap_async("now", |cx, ()| Box::new(now(cx)))?;
    interface.func_wrap_async("random", |cx, (count,): (u32,)| Box::new(random(cx, count)))?;
    interface.func_wrap_async("state-version", |cx, ()| Box::new(state_version(cx)))?;
    interface.func_wrap_async("fuel-used", |cx, ()| Box::new(fuel_used(cx)))?;
    Ok(())
}

async fn id(mut cx: Cx<'_>) -> wasmtime::Result<(Vec<u8>,)> {
    enter(&mut cx, &costs::CONTEXT_ID, 32).await?;
    Ok((cx.data().facts.context.to_vec(),))
}

async fn caller(mut cx: Cx<'_>) -> wasmtime::Result<(Arc<str>,)> {
    let bytes = cx.data().facts.caller.len() as u64;
    enter(&mut cx, &costs::CONTEXT_CALLER, bytes).await?;
    cx.data_mut().used.reads.caller = true;
    Ok((Arc::clone(&cx.data().facts.caller),))
}

async fn author(mut cx: Cx<'_>) -> wasmtime::Result<(Vec<u8>,)> {
    enter(&mut cx, &costs::CONTEXT_AUTHOR, 32).await?;
    Ok((cx.data().facts.author.to_vec(),))
}

async fn now(mut cx: Cx<'_>) -> wasmtime::Result<(u64,)> {
    enter(&mut cx, &costs::CONTEXT_NOW, 0).await?;
    cx.data_mut().used.reads.moment = true;
    Ok((cx.data().facts.now_nanos,))
}

/// One stream per turn: the bytes do not depend on how they are asked for.
async fn random(mut cx: Cx<'_>, count: u32) -> wasmtime::Result<(Vec<u8>,)> {
    let data = cx.data_mut();
    let max = data.limits.random_bytes_max;
    data.bound("random_bytes_max", count.into(), max)?;
    enter(&mut cx, &costs::CONTEXT_RANDOM, count.into()).await?;
    let data = cx.data_mut();
    data.used.reads.moment = true;
    let mut bytes = vec![0; count as usize];
    let mut stream = blake3::Hasher::new_keyed(&data.facts.seed).finalize_xof();
    stream.set_position(data.used.random_bytes);
    stream.fill(&mut bytes);
    data.used.random_bytes += u64::from(count);
    Ok((bytes,))
}

async fn state_version(mut cx: Cx<'_>) -> wasmtime::Result<(u64,)> {
    enter(&mut cx, &costs::CONTEXT_STATE_VERSION, 0).await?;
    Ok((cx.data().facts.state_version,))
}

async fn fuel_used(mut cx: Cx<'_>) -> wasmtime::Result<(u64,)> {
    enter(&mut cx, &costs::CONTEXT_FUEL_USED, 0).await?;
    let left = cx.get_fuel()?;
    Ok((cx.data().facts.fuel_max.saturating_sub(left),))
}
