//! `corelet:app/stable`: bytes that last. What they are made of is in `stable.rs`; here are the limits
//! and the price.

use wasmtime::component::Linker;

use super::storage::{Bytes, answered, count_writes};
use crate::costs;
use crate::failure::Failure;
use crate::guest_state::{GuestState, StateError};
use crate::host_context::{Cx, HostContext, Phase, charge, enter, slice_end, with_stable};
use crate::stable::{STABLE_BLOCK_BYTES, STABLE_PAGE_BYTES, StableMemory, WRITTEN_BYTES};
use crate::world;

/// Bytes that are read or written before the price of their blocks is charged and the slice may end.
const STEP_BYTES: usize = 64 * STABLE_BLOCK_BYTES;

pub(super) fn add_to(linker: &mut Linker<HostContext>) -> wasmtime::Result<()> {
    let mut interface = linker.instance(world::STABLE)?;
    interface.func_wrap_async("size", |cx, ()| Box::new(size(cx)))?;
    interface.func_wrap_async("grow", |cx, (pages,): (u64,)| Box::new(grow(cx, pages)))?;
    interface.func_wrap_async("read", |cx, (offset, count): (u64, u32)| {
        Box::new(read(cx, offset, count))
    })?;
    interface.func_wrap_async("write", |cx, (offset, bytes): (u64, Bytes)| {
        Box::new(write(cx, offset, bytes))
    })
}

async fn size(mut cx: Cx<'_>) -> wasmtime::Result<(u64,)> {
    enter(&mut cx, &costs::STABLE_SIZE, 0).await?;
    let bytes = with(&mut cx, |memory, _| Ok(memory.bytes()))?;
    Ok((bytes / STABLE_PAGE_BYTES,))
}

async fn grow(mut cx: Cx<'_>, pages: u64) -> wasmtime::Result<(u64,)> {
    enter(&mut cx, &costs::STABLE_GROW, 0).await?;
    check_writer(&mut cx)?;
    let before = with(&mut cx, |memory, _| Ok(memory.bytes()))?;
    if pages > 0 {
        let bytes = pages
            .saturating_mul(STABLE_PAGE_BYTES)
            .saturating_add(before);
        let max = cx.data().limits.stable_bytes_max;
        cx.data_mut().bound("stable_bytes_max", bytes, max)?;
        // Of what says how long it is one goes and one comes.
        count_writes(&mut cx, 2, 2 * END_BYTES)?;
        with(&mut cx, |memory, _| {
            memory.grow(pages);
            Ok(())
        })?;
    }
    Ok((before / STABLE_PAGE_BYTES,))
}

/// What is written to say how long the memory is.
const END_BYTES: u64 = 5;

async fn read(mut cx: Cx<'_>, offset: u64, count: u32) -> wasmtime::Result<(Vec<u8>,)> {
    let data = cx.data_mut();
    let max = data.limits.scan_bytes_max;
    data.bound("scan_bytes_max", count.into(), max)?;
    let cost = &costs::STABLE_READ;
    enter(&mut cx, cost, count.into()).await?;
    let count = count as usize;
    let mut out = Vec::new();
    loop {
        let now = STEP_BYTES.min(count - out.len());
        let at = offset.saturating_add(out.len() as u64);
        let (looked_for, is_there) = with(&mut cx, |memory, state| {
            // All of it, so that nothing is read before it is refused.
            if !memory.has(offset, count as u64) {
                return Ok((0, false));
            }
            out.reserve_exact(count - out.len());
            let looked_for = memory.read(state, at, now, &mut out)?;
            Ok((looked_for, true))
        })?;
        if !is_there {
            return Err(beyond(&mut cx, "read", offset, count)?);
        }
        if looked_for > 0 && charge(&mut cx, looked_for * cost.per_row)? {
            slice_end(&mut cx).await;
        }
        if out.len() >= count {
            return Ok((out,));
        }
    }
}

async fn write(mut cx: Cx<'_>, offset: u64, bytes: Bytes) -> wasmtime::Result<()> {
    let cost = &costs::STABLE_WRITE;
    enter(&mut cx, cost, bytes.len() as u64).await?;
    check_writer(&mut cx)?;
    let count = bytes.len();
    let mut done = 0;
    loop {
        let now = STEP_BYTES.min(count - done);
        let at = offset.saturating_add(done as u64);
        let touched = with_stable(&mut cx, |memory, state, store| {
            if !memory.has(offset, count as u64) {
                return Ok(None);
            }
            let bytes = &bytes.as_le_slice(&store)[done..done + now];
            memory.write(state, at, bytes).map(Some)
        })?;
        let Some(touched) = answered(&mut cx, touched)? else {
            return Err(beyond(&mut cx, "written", offset, count)?);
        };
        if touched.looked_for > 0 || touched.written > 0 {
            count_writes(&mut cx, touched.written, touched.written * WRITTEN_BYTES)?;
            let rows = touched.looked_for * costs::STABLE_READ.per_row;
            if charge(&mut cx, rows + touched.written * cost.per_row)? {
                slice_end(&mut cx).await;
            }
        }
        done += now;
        if done >= count {
            return Ok(());
        }
    }
}

/// Runs `f` with the memory, whose state's error ends the turn.
fn with<R>(
    cx: &mut Cx<'_>,
    f: impl FnOnce(&mut StableMemory, &mut dyn GuestState) -> Result<R, StateError>,
) -> wasmtime::Result<R> {
    let answer = with_stable(cx, |memory, state, _| f(memory, state))?;
    answered(cx, answer)
}

/// Stops a guest that goes beyond the end of its memory.
#[cold]
fn beyond(
    cx: &mut Cx<'_>,
    how: &str,
    offset: u64,
    count: usize,
) -> wasmtime::Result<wasmtime::Error> {
    let size = with(cx, |memory, _| Ok(memory.bytes()))?;
    let message = format!(
        "the stable memory was {how} beyond its end: {count} bytes from {offset} on, of {size} in all"
    );
    Ok(cx.data_mut().stop(Failure::Misused { message }))
}

fn check_writer(cx: &mut Cx<'_>) -> wasmtime::Result<()> {
    let data = cx.data_mut();
    match data.phase {
        Phase::Update => Ok(()),
        _ => Err(data.stop(Failure::WroteInQuery)),
    }
}
