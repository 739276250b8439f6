//! `corelet:app/storage`: the context's state. What it means lives behind
//! [`GuestState`](crate::GuestState); here are the limits and the price.

use std::ops::ControlFlow;

use wasmtime::component::{Linker, WasmList};

use crate::costs;
use crate::failure::Failure;
use crate::guest_state::{Row, Space, StateError, Walk as StateWalk};
use crate::host_context::{Cx, HostContext, Phase, charge, enter, slice_end, with_state};
use crate::world::{self, RawEntry};

type Bytes = WasmList<u8>;

/// Keys that `count` walks over before it looks at the slice again.
const COUNT_STEP: usize = 1_000;

/// What a hidden row would cost if it cost fuel, as a row of a scan does.
const HIDDEN_WORK: u64 = costs::STORAGE_SCAN.per_row;

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
    let value = with_state(&mut cx, |state, store| {
        state.get(Space::Shared, key.as_le_slice(&store))
    })?;
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
        state.set(
            Space::Shared,
            key.as_le_slice(&store),
            value.as_le_slice(&store),
        )
    })?;
    answered(&mut cx, written)
}

async fn remove(mut cx: Cx<'_>, key: Bytes) -> wasmtime::Result<(bool,)> {
    check_key(&mut cx, key.len())?;
    enter(&mut cx, &costs::STORAGE_REMOVE, key.len() as u64).await?;
    count_write(&mut cx, key.len() as u64)?;
    let removed = with_state(&mut cx, |state, store| {
        state.remove(Space::Shared, key.as_le_slice(&store))
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

    let mut walk = Walk::new(&costs::STORAGE_SCAN, cx.get_fuel()?);
    let mut entries = Vec::new();
    let mut resume: Option<Vec<u8>> = None;
    loop {
        walk.hidden_left = cx.data().unpriced_left() / HIDDEN_WORK;
        let from = resume.take();
        let scanned = with_state(&mut cx, |state, store| {
            let prefix = prefix.as_le_slice(&store);
            let after = match &from {
                Some(key) => Some(&key[..]),
                None => after.as_ref().map(|after| after.as_le_slice(&store)),
            };
            let way = StateWalk {
                space: Space::Shared,
                prefix,
                after,
                limit: limit as usize - entries.len(),
                reverse,
            };
            state.scan(way, &mut |key, row| {
                if walk.step(key, row).is_break() {
                    resume = Some(key.to_vec());
                    return ControlFlow::Break(());
                }
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
        cx.data_mut().did_unpriced(walk.take_hidden());
        if resume.is_none() {
            break;
        }
        slice_end().await;
    }
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
        let mut walk = Walk::new(&costs::STORAGE_COUNT, fuel);
        walk.hidden_left = cx.data().unpriced_left() / HIDDEN_WORK;
        let mut rows = 0;
        let (mut more, mut is_long) = (false, false);
        let mut next = Vec::new();
        let scanned = with_state(&mut cx, |state, store| {
            let prefix = prefix.as_le_slice(&store);
            let way = StateWalk {
                space: Space::Shared,
                prefix,
                after: last.as_deref(),
                limit: COUNT_STEP,
                reverse: false,
            };
            state.scan(way, &mut |key, row| {
                is_long = walk.step(key, row).is_break();
                rows += usize::from(matches!(row, Row::Shown(_)));
                more = is_long || rows == COUNT_STEP || walk.spent > walk.fuel;
                if more {
                    next.extend_from_slice(key);
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })
        })?;
        answered(&mut cx, scanned)?;
        total += rows as u64;
        cx.data_mut().did_unpriced(walk.take_hidden());
        if charge(&mut cx, walk.spent)? || is_long {
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
    /// Rows that cost nothing, and how many more of them fit into the slice.
    hidden: u64,
    hidden_left: u64,
}

impl Walk {
    fn new(cost: &'static costs::HostCost, fuel: u64) -> Walk {
        Walk {
            cost,
            fuel,
            spent: 0,
            bytes: 0,
            hidden: 0,
            hidden_left: 0,
        }
    }

    /// One row. Breaks if the slice has to end behind it, whatever it has cost.
    fn step(&mut self, key: &[u8], row: Row<'_>) -> ControlFlow<()> {
        if row == Row::Hidden {
            self.hidden += 1;
            return match self.hidden < self.hidden_left {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            };
        }
        let bytes = (key.len() + row.bytes()) as u64;
        self.bytes += bytes;
        self.spent += self.cost.per_row + self.cost.per_byte * bytes;
        ControlFlow::Continue(())
    }

    /// The work that hidden rows were, since this was last asked.
    fn take_hidden(&mut self) -> u64 {
        std::mem::take(&mut self.hidden).saturating_mul(HIDDEN_WORK)
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
    answer.map_err(|error| {
        cx.data_mut().stop(match error {
            StateError::Store(source) => Failure::State(source),
            StateError::Misused(message) => Failure::Misused { message },
        })
    })
}
