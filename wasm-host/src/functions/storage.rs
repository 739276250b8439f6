//! `corelet:app/storage`: the context's state. What it means lives behind
//! [`GuestState`](crate::GuestState); here are the limits and the price.

use std::ops::ControlFlow;

use wasmtime::component::{Linker, WasmList};

use crate::costs;
use crate::failure::Failure;
use crate::guest_state::{Row, StateError};
use crate::host_context::{Cx, HostContext, Phase, charge, enter, slice_end, with_state};
use crate::world::{self, RawEntry};

type Bytes = WasmList<u8>;

/// Keys that `count` walks over before it looks at the slice again.
const COUNT_STEP: usize = 1_000;

pub(super) fn add_to(linker: &mut Linker<HostContext>) -> wasmtime::Result<()> {
    let mut interface = linker.instance(world::STORAGE)?;
    interface.func_wrap_async("get", |cx, (key,): (Bytes,)| Box::new(get(cx, key)))?;
    interface.func_wrap_async("set", |cx, (key, value): (Bytes, Bytes)| {
        Box::new(set(cx, key, value))
    })?;
    interface.func_wrap_async("remove", |cx, (key,): (Bytes,)| Box::new(remove(cx, key)))?;
    interface.func_wrap_async(
        "scan",
        |cx, (prefix, after, limit, reverse): (Bytes, Option<Bytes>, u32, bool)| {
            Box::new(scan(cx, prefix, after, limit, reverse))
        },
    )?;
    interface.func_wrap_async("count", |cx, (prefix,): (Bytes,)| {
        Box::new(count(cx, prefix))
    })?;
    Ok(())
}

async fn get(mut cx: Cx<'_>, key: Bytes) -> wasmtime::Result<(Option<Vec<u8>>,)> {
    check_key(&mut cx, key.len())?;
    enter(&mut cx, &costs::STORAGE_GET, key.len() as u64).await?;
    let value = with_state(&mut cx, |state, store| state.get(key.as_le_slice(&store)))?;
    let value = answered(&mut cx, value)?;
    if let Some(value) = &value {
        charge(&mut cx, costs::STORAGE_GET.per_byte * value.len() as u64)?;
    }
    Ok((value,))
}

async fn set(mut cx: Cx<'_>, key: Bytes, value: Bytes) -> wasmtime::Result<()> {
    check_key(&mut cx, key.len())?;
    let max = cx.data().limits.value_bytes_max;
    cx.data_mut()
        .bound("value_bytes_max", value.len() as u64, max)?;
    let bytes = (key.len() + value.len()) as u64;
    enter(&mut cx, &costs::STORAGE_SET, bytes).await?;
    count_write(&mut cx, bytes)?;
    let written = with_state(&mut cx, |state, store| {
        state.set(key.as_le_slice(&store), value.as_le_slice(&store))
    })?;
    answered(&mut cx, written)
}

async fn remove(mut cx: Cx<'_>, key: Bytes) -> wasmtime::Result<(bool,)> {
    check_key(&mut cx, key.len())?;
    enter(&mut cx, &costs::STORAGE_REMOVE, key.len() as u64).await?;
    count_write(&mut cx, key.len() as u64)?;
    let removed = with_state(&mut cx, |state, store| {
        state.remove(key.as_le_slice(&store))
    })?;
    Ok((answered(&mut cx, removed)?,))
}

async fn scan(
    mut cx: Cx<'_>,
    prefix: Bytes,
    after: Option<Bytes>,
    limit: u32,
    reverse: bool,
) -> wasmtime::Result<(Vec<RawEntry>,)> {
    let after_bytes = after.as_ref().map_or(0, WasmList::len);
    check_key(&mut cx, prefix.len())?;
    check_key(&mut cx, after_bytes)?;
    let data = cx.data_mut();
    let (rows_max, bytes_max) = (data.limits.scan_rows_max, data.limits.scan_bytes_max);
    data.bound("scan_rows_max", limit.into(), rows_max)?;
    enter(
        &mut cx,
        &costs::STORAGE_SCAN,
        (prefix.len() + after_bytes) as u64,
    )
    .await?;

    let fuel = cx.get_fuel()?;
    let mut walk = Walk {
        cost: &costs::STORAGE_SCAN,
        fuel,
        spent: 0,
        bytes: 0,
    };
    let mut entries = Vec::new();
    let scanned = with_state(&mut cx, |state, store| {
        let prefix = prefix.as_le_slice(&store);
        let after = after.as_ref().map(|after| after.as_le_slice(&store));
        state.scan(prefix, after, limit as usize, reverse, &mut |key, row| {
            walk.step(key, row);
            if walk.bytes > bytes_max || walk.spent > walk.fuel {
                return ControlFlow::Break(());
            }
            if let Row::Shown(value) = row {
                entries.push(RawEntry {
                    key: key.to_vec(),
                    value: value.to_vec(),
                });
            }
            ControlFlow::Continue(())
        })
    })?;
    answered(&mut cx, scanned)?;
    cx.data_mut()
        .bound("scan_bytes_max", walk.bytes, bytes_max)?;
    if charge(&mut cx, walk.spent)? {
        slice_end().await;
    }
    Ok((entries,))
}

/// Counts in steps, so that a large context cannot hold the core: each step is
/// paid for and may end the slice.
async fn count(mut cx: Cx<'_>, prefix: Bytes) -> wasmtime::Result<(u64,)> {
    check_key(&mut cx, prefix.len())?;
    enter(&mut cx, &costs::STORAGE_COUNT, prefix.len() as u64).await?;
    let mut total = 0;
    let mut last: Option<Vec<u8>> = None;
    loop {
        let fuel = cx.get_fuel()?.min(cx.data().limits.slice_fuel);
        let mut walk = Walk {
            cost: &costs::STORAGE_COUNT,
            fuel,
            spent: 0,
            bytes: 0,
        };
        let mut rows = 0;
        let mut more = false;
        let mut next = Vec::new();
        let scanned = with_state(&mut cx, |state, store| {
            let prefix = prefix.as_le_slice(&store);
            state.scan(
                prefix,
                last.as_deref(),
                COUNT_STEP,
                false,
                &mut |key, row| {
                    walk.step(key, row);
                    rows += usize::from(matches!(row, Row::Shown(_)));
                    more = rows == COUNT_STEP || walk.spent > walk.fuel;
                    if more {
                        next.extend_from_slice(key);
                        return ControlFlow::Break(());
                    }
                    ControlFlow::Continue(())
                },
            )
        })?;
        answered(&mut cx, scanned)?;
        total += rows as u64;
        if charge(&mut cx, walk.spent)? {
            slice_end().await;
        }
        if !more {
            return Ok((total,));
        }
        last = Some(next);
    }
}

/// What a walk over entries has cost so far, against what may be spent.
struct Walk {
    cost: &'static costs::HostCost,
    fuel: u64,
    spent: u64,
    bytes: u64,
}

impl Walk {
    fn step(&mut self, key: &[u8], row: Row<'_>) {
        let bytes = (key.len() + row.bytes()) as u64;
        self.bytes += bytes;
        self.spent += self.cost.per_row + self.cost.per_byte * bytes;
    }
}

fn check_key(cx: &mut Cx<'_>, bytes: usize) -> wasmtime::Result<()> {
    let max = cx.data().limits.key_bytes_max;
    cx.data_mut().bound("key_bytes_max", bytes as u64, max)
}

fn count_write(cx: &mut Cx<'_>, bytes: u64) -> wasmtime::Result<()> {
    let data = cx.data_mut();
    if data.phase != Phase::Update {
        return Err(data.stop(Failure::WroteInQuery));
    }
    data.used.writes += 1;
    data.used.write_bytes += bytes;
    let (writes, write_bytes) = (data.used.writes, data.used.write_bytes);
    let (writes_max, bytes_max) = (data.limits.writes_max, data.limits.write_bytes_max);
    data.bound("writes_max", writes, writes_max)?;
    data.bound("write_bytes_max", write_bytes, bytes_max)
}

/// The state's answer; a state that cannot answer ends the turn.
fn answered<R>(cx: &mut Cx<'_>, answer: Result<R, StateError>) -> wasmtime::Result<R> {
    answer.map_err(|error| cx.data_mut().stop(Failure::State(error)))
}
