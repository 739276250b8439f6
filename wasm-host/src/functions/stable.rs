//! `corelet:app/stable`: bytes that last. What they are made of is in `stable.rs`; here are the limits
//! and the price, and how a turn comes to it and leaves it.

use std::future;
use std::pin::Pin;
use std::task::{Context, Poll};

use wasmtime::component::Linker;
use wasmtime::{AsContext, StoreContext};

use super::storage::{Bytes, count_writes};
use crate::costs;
use crate::failure::Failure;
use crate::guest_state::{GuestState, StateError};
use crate::host_context::{
    Cx, HostContext, Phase, charge, count_call, enter, slice_end, with_state,
};
use crate::stable::{Opening, STABLE_BLOCK_BYTES, STABLE_PAGE_BYTES, StableMemory, WRITTEN_BYTES};
use crate::world;

/// Bytes that are read or written before the price of their blocks is charged and the slice may end. It ends
/// before, if so much was read for them that is not shown: another node decides how much that is.
const STEP_BYTES: usize = 64 * STABLE_BLOCK_BYTES;

pub(super) fn add_to(linker: &mut Linker<HostContext>) -> wasmtime::Result<()> {
    let mut interface = linker.instance(world::STABLE)?;
    interface.func_wrap_async("size", |cx, ()| Box::new(size(cx)))?;
    interface.func_wrap_async("grow", |cx, (pages,): (u64,)| Box::new(grow(cx, pages)))?;
    interface.func_wrap_async("read", |cx, (offset, count): (u64, u32)| {
        Box::new(read(cx, offset, count))
    })?;
    interface.func_wrap_async(
        "write",
        |mut cx, (offset, bytes): (u64, Bytes)| match write_again(&mut cx, offset, &bytes) {
            Some(Ok(false)) => Box::new(Done),
            Some(Ok(true)) => Box::new(async move {
                slice_end(&mut cx).await;
                Ok(())
            }),
            Some(Err(stopped)) => Box::new(future::ready(Err(stopped))),
            None => Box::new(write(cx, offset, bytes)),
        },
    )
}

/// What was done before anybody waited for it. It has no size, so nothing is allocated for it.
struct Done;

impl Future for Done {
    type Output = wasmtime::Result<()>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<wasmtime::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

async fn size(mut cx: Cx<'_>) -> wasmtime::Result<(u64,)> {
    enter(&mut cx, &costs::STABLE_SIZE, 0).await?;
    open_stable(&mut cx).await?;
    let bytes = with_stable(&mut cx, |memory, _, _| Ok(memory.bytes()))?;
    Ok((bytes / STABLE_PAGE_BYTES,))
}

async fn grow(mut cx: Cx<'_>, pages: u64) -> wasmtime::Result<(u64,)> {
    enter(&mut cx, &costs::STABLE_GROW, 0).await?;
    check_writer(&mut cx)?;
    open_stable(&mut cx).await?;
    let before = with_stable(&mut cx, |memory, _, _| Ok(memory.bytes()))?;
    if pages > 0 {
        let bytes = pages
            .saturating_mul(STABLE_PAGE_BYTES)
            .saturating_add(before);
        let max = cx.data().limits.stable_bytes_max;
        cx.data_mut().bound("stable_bytes_max", bytes, max)?;
        // Of what says how long it is one goes and one comes.
        count_writes(&mut cx, 2, 2 * END_BYTES)?;
        with_stable(&mut cx, |memory, _, _| {
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
    open_stable(&mut cx).await?;
    let count = count as usize;
    let mut out = Vec::new();
    loop {
        let now = STEP_BYTES.min(count - out.len());
        let at = offset.saturating_add(out.len() as u64);
        let room = cx.data().unpriced_left();
        let touched = with_stable(&mut cx, |memory, state, _| {
            // All of it, so that nothing is read before it is refused.
            if !memory.has(offset, count as u64) {
                return Ok(None);
            }
            out.reserve_exact(count - out.len());
            memory.read(state, at, now, room, &mut out).map(Some)
        })?;
        let Some(touched) = touched else {
            return Err(beyond(&mut cx, "read", offset, count)?);
        };
        if touched.looked_for > 0 {
            cx.data_mut().did_unpriced(touched.unpriced);
            if charge(&mut cx, touched.looked_for * cost.per_row)? {
                slice_end(&mut cx).await;
            }
        }
        if out.len() >= count {
            return Ok((out,));
        }
    }
}

/// What most writes are: to the block of the one before. Nothing is looked for then, and no future with
/// room for all that is made. Tells whether the slice has ended, or nothing of a write that is another.
#[inline]
fn write_again(cx: &mut Cx<'_>, offset: u64, bytes: &Bytes) -> Option<wasmtime::Result<bool>> {
    let mut memory = cx.data_mut().stable.take()?;
    let is_done = memory.write_again(offset, bytes.as_le_slice(cx.as_context()));
    let data = cx.data_mut();
    data.stable = Some(memory);
    if !is_done {
        return None;
    }
    // What is stopped has written nothing, as its turn has failed.
    let counted = count_call(data);
    let cost = costs::STABLE_WRITE.of_bytes(bytes.len() as u64);
    Some(counted.and_then(|()| charge(cx, cost)))
}

async fn write(mut cx: Cx<'_>, offset: u64, bytes: Bytes) -> wasmtime::Result<()> {
    let cost = &costs::STABLE_WRITE;
    enter(&mut cx, cost, bytes.len() as u64).await?;
    check_writer(&mut cx)?;
    open_stable(&mut cx).await?;
    let count = bytes.len();
    let mut done = 0;
    loop {
        let step_end = count.min(done + STEP_BYTES);
        let (mut looked_for, mut written) = (0, 0);
        loop {
            let at = offset.saturating_add(done as u64);
            let room = cx.data().unpriced_left();
            let touched = with_stable(&mut cx, |memory, state, store| {
                if !memory.has(offset, count as u64) {
                    return Ok(None);
                }
                let bytes = &bytes.as_le_slice(&store)[done..step_end];
                memory.write(state, at, bytes, room).map(Some)
            })?;
            let Some(touched) = touched else {
                return Err(beyond(&mut cx, "written", offset, count)?);
            };
            looked_for += touched.looked_for;
            written += touched.written;
            done += touched.bytes;
            if touched.unpriced > 0 {
                cx.data_mut().did_unpriced(touched.unpriced);
            }
            if done >= step_end {
                break;
            }
            // The step is counted and paid for as a whole, so that one which goes too far has used the
            // same wherever it was interrupted.
            slice_end(&mut cx).await;
        }
        if looked_for > 0 || written > 0 {
            count_writes(&mut cx, written, written * WRITTEN_BYTES)?;
            let rows = looked_for * costs::STABLE_READ.per_row;
            if charge(&mut cx, rows + written * cost.per_row)? {
                slice_end(&mut cx).await;
            }
        }
        if done >= count {
            return Ok(());
        }
    }
}

/// Runs `f` with the stable memory, which [`open_stable`] has opened, with the context's state, and with the
/// store to borrow the guest's lists from.
#[inline]
fn with_stable<R>(
    cx: &mut Cx<'_>,
    f: impl FnOnce(
        &mut StableMemory,
        &mut dyn GuestState,
        StoreContext<'_, HostContext>,
    ) -> Result<R, StateError>,
) -> wasmtime::Result<R> {
    let Some(mut memory) = cx.data_mut().stable.take() else {
        let what = "a host function found no stable memory during a turn".to_owned();
        return Err(cx.data_mut().stop(Failure::OurBug { what }));
    };
    let result = with_state(cx, |state, store| f(&mut memory, state, store))?;
    let data = cx.data_mut();
    data.stable = Some(memory);
    result.map_err(|error| data.stop(error.into()))
}

/// Opens the stable memory when the turn first comes to it.
#[inline]
async fn open_stable(cx: &mut Cx<'_>) -> wasmtime::Result<()> {
    match cx.data().stable {
        Some(_) => Ok(()),
        // Boxed, because every read and write would have room for it.
        None => Box::pin(find_stable(cx)).await,
    }
}

async fn find_stable(cx: &mut Cx<'_>) -> wasmtime::Result<()> {
    let mut is_over = charge(cx, costs::STABLE_READ.per_row)?;
    let mut from: Option<Vec<u8>> = None;
    loop {
        if is_over {
            slice_end(cx).await;
        }
        let room = cx.data().unpriced_left();
        let opening = with_state(cx, |state, _| {
            StableMemory::open(state, from.as_deref(), room)
        })?;
        let data = cx.data_mut();
        match opening.map_err(|error| data.stop(error.into()))? {
            Opening::Done(memory) => {
                data.stable = Some(Box::new(memory));
                return Ok(());
            }
            Opening::GoesOn { before, unpriced } => {
                data.did_unpriced(unpriced);
                from = Some(before);
                is_over = true;
            }
        }
    }
}

/// Makes entries of what the turn has written; parks the guest, which has answered, in between.
pub(crate) async fn save_stable(mut cx: Cx<'_>) -> wasmtime::Result<()> {
    // That of a memory which has grown was counted then.
    if with_stable(&mut cx, |memory, _, _| Ok(memory.gains_end()))? {
        count_writes(&mut cx, 1, END_BYTES)?;
    }
    loop {
        let room = cx.data().unpriced_left();
        if with_stable(&mut cx, |memory, state, _| memory.save_some(state, room))? {
            return Ok(());
        }
        slice_end(&mut cx).await;
    }
}

/// Stops a guest that goes beyond the end of its memory.
#[cold]
fn beyond(
    cx: &mut Cx<'_>,
    how: &str,
    offset: u64,
    count: usize,
) -> wasmtime::Result<wasmtime::Error> {
    let size = with_stable(cx, |memory, _, _| Ok(memory.bytes()))?;
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
