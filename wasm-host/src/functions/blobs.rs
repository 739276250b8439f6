//! `corelet:app/blobs`: the blobs to which the context refers. What it means lives behind
//! [`GuestBlobs`](crate::GuestBlobs); here are the limits and the price.

use wasmtime::component::{Linker, WasmStr};

use super::storage::{answered, check_key, count_write};
use crate::costs::{self, HostCost};
use crate::failure::Failure;
use crate::guest_blobs::{AttachStep, AttachedFrom, SizeFrom, SizeKnown};
use crate::host_context::{Cx, HostContext, Phase, charge, enter, slice_end, with_state};
use crate::world::{self, RawAttachment};

/// What an attachment counts for among the bytes written: an id and a length.
const ATTACHMENT_BYTES: u64 = 40;

/// Lengths that one turn detaches beside one for each write. Other nodes may have attached a
/// blob with as many as they like, so these are no writes of the guest's: if they were, there
/// could be too many for every turn, and the blob would stay for ever.
const LENGTHS_MAX: u64 = 1 << 14;

pub(super) fn add_to(linker: &mut Linker<HostContext>) -> wasmtime::Result<()> {
    let mut interface = linker.instance(world::BLOBS)?;
    interface.func_wrap_async("attach", |cx, (blob,): (WasmStr,)| {
        Box::new(attach(cx, blob))
    })?;
    interface.func_wrap_async("detach", |cx, (blob,): (WasmStr,)| {
        Box::new(detach(cx, blob))
    })?;
    interface.func_wrap_async("size", |cx, (blob,): (WasmStr,)| Box::new(size(cx, blob)))?;
    interface.func_wrap_async("attached", |cx, args: (Option<WasmStr>, u32)| {
        let (after, limit) = args;
        Box::new(attached(cx, after, limit))
    })
}

async fn attach(mut cx: Cx<'_>, blob: WasmStr) -> wasmtime::Result<(Option<u64>,)> {
    let blob = begin(&mut cx, &costs::BLOBS_ATTACH, &blob).await?;
    check_writer(&mut cx)?;
    count_write(&mut cx, ATTACHMENT_BYTES)?;
    loop {
        let step = with_state(&mut cx, |state, _| state.attach(&blob))?;
        match answered(&mut cx, step)? {
            AttachStep::More => slice_end(&mut cx).await,
            AttachStep::Missing => return Ok((None,)),
            AttachStep::Attached { bytes } => return Ok((Some(bytes),)),
        }
    }
}

async fn detach(mut cx: Cx<'_>, blob: WasmStr) -> wasmtime::Result<(bool,)> {
    let blob = begin(&mut cx, &costs::BLOBS_DETACH, &blob).await?;
    check_writer(&mut cx)?;
    count_write(&mut cx, ATTACHMENT_BYTES)?;
    let cost = &costs::BLOBS_DETACH;
    let (mut from, mut detached) = (None, 0);
    loop {
        // The first one is counted and paid for.
        let first = u64::from(detached == 0);
        let limit = first + LENGTHS_MAX.saturating_sub(cx.data().used.lengths);
        let limit = usize::try_from(limit).expect("it is bounded");
        if limit == 0 {
            // The next call goes on with it.
            return Ok((true,));
        }
        let step = with_state(&mut cx, |state, _| {
            state.detach(&blob, from.as_deref(), limit)
        })?;
        let step = answered(&mut cx, step)?;
        let further = step.detached.saturating_sub(first);
        cx.data_mut().used.lengths += further;
        detached += step.detached;
        charge(&mut cx, further * cost.fixed + step.walked * cost.per_row)?;
        if step.resume.is_none() {
            return Ok((detached > 0,));
        }
        from = step.resume;
        slice_end(&mut cx).await;
    }
}

async fn size(mut cx: Cx<'_>, blob: WasmStr) -> wasmtime::Result<(Option<u64>,)> {
    let cost = &costs::BLOBS_SIZE;
    let blob = begin(&mut cx, cost, &blob).await?;
    let mut from = SizeFrom::default();
    loop {
        let step = with_state(&mut cx, |state, _| state.attached_bytes(&blob, &from))?;
        let step = answered(&mut cx, step)?;
        match step.known {
            // It walks the same way again.
            SizeKnown::Later => slice_end(&mut cx).await,
            SizeKnown::From(place) => {
                charge(&mut cx, step.walked * cost.per_row)?;
                from = place;
                slice_end(&mut cx).await;
            }
            SizeKnown::Is(bytes) => {
                charge(&mut cx, step.walked * cost.per_row)?;
                return Ok((bytes,));
            }
        }
    }
}

async fn attached(
    mut cx: Cx<'_>,
    after: Option<WasmStr>,
    limit: u32,
) -> wasmtime::Result<(Vec<RawAttachment>,)> {
    let data = cx.data_mut();
    let rows_max = data.limits.scan_rows_max;
    data.bound("scan_rows_max", limit.into(), rows_max)?;
    let cost = &costs::BLOBS_ATTACHED;
    let after = match &after {
        Some(after) => Some(begin(&mut cx, cost, after).await?),
        None => {
            enter(&mut cx, cost, 0).await?;
            None
        }
    };
    let mut from = after
        .as_deref()
        .map_or(AttachedFrom::Start, AttachedFrom::Behind);
    let mut found = Vec::new();
    while found.len() < limit as usize {
        let left = limit as usize - found.len();
        let page = with_state(&mut cx, |state, _| state.attached(from, left))?;
        let page = answered(&mut cx, page)?;
        let bytes: u64 = page.blobs.iter().map(|blob| blob.id.len() as u64).sum();
        let rows = page.blobs.len() as u64 + page.walked;
        found.extend(page.blobs.into_iter().map(|blob| RawAttachment {
            blob: blob.id,
            size: blob.bytes,
        }));
        let has_ended = charge(&mut cx, rows * cost.per_row + bytes * cost.per_byte)?;
        if has_ended || page.resume.is_some() {
            slice_end(&mut cx).await;
        }
        match page.resume {
            Some(place) => from = AttachedFrom::Resumed(place),
            None => break,
        }
    }
    Ok((found,))
}

/// The door of every function here that is given an id. No id is longer than a key may be.
async fn begin(
    cx: &mut Cx<'_>,
    cost: &'static HostCost,
    blob: &WasmStr,
) -> wasmtime::Result<String> {
    let bytes = blob.to_str(&*cx)?.len();
    check_key(cx, bytes)?;
    enter(cx, cost, bytes as u64).await?;
    Ok(blob.to_str(&*cx)?.into_owned())
}

fn check_writer(cx: &mut Cx<'_>) -> wasmtime::Result<()> {
    let data = cx.data_mut();
    match data.phase {
        Phase::Update => Ok(()),
        _ => Err(data.stop(Failure::WroteInQuery)),
    }
}
