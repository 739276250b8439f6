//! `corelet:app/storage`: the context's state. What it means lives behind
//! [`GuestState`](crate::GuestState); here are the limits and the price. Lists and
//! texts are in `sequences.rs`.

use std::ops::ControlFlow;

use wasmtime::AsContext;
use wasmtime::component::{Linker, WasmList};

use crate::costs;
use crate::failure::Failure;
use crate::guest_state::{KEY_BYTES_MAX, Row, Space, StateError, Walk as StateWalk};
use crate::host_context::{Cx, HostContext, Phase, charge, enter, slice_end, with_state};
use crate::world::{self, RawEntry, RawSpace};

pub(super) type Bytes = WasmList<u8>;

/// Keys that `count` walks over before it looks at the slice again.
const COUNT_STEP: usize = 1_000;

/// Entries that `remove-range` removes before it looks at the slice again.
const REMOVE_STEP: usize = 100;

/// What an amount counts for among the bytes written.
const AMOUNT_BYTES: u64 = 8;

pub(super) fn add_to(linker: &mut Linker<HostContext>) -> wasmtime::Result<()> {
    let mut interface = linker.instance(world::STORAGE)?;
    interface.func_wrap_async("get", |cx, (space, key): (RawSpace, Bytes)| {
        Box::new(get(cx, space.into(), key))
    })?;
    interface.func_wrap_async("set", |cx, args: (RawSpace, Bytes, Bytes)| {
        let (space, key, value) = args;
        Box::new(set(cx, space.into(), key, value))
    })?;
    interface.func_wrap_async("add", |cx, args: (RawSpace, Bytes, i64)| {
        let (space, key, amount) = args;
        Box::new(add(cx, space.into(), key, amount))
    })?;
    interface.func_wrap_async("insert", |cx, (space, key): (RawSpace, Bytes)| {
        Box::new(insert(cx, space.into(), key))
    })?;
    interface.func_wrap_async("write-once", |cx, args: (RawSpace, Bytes, Bytes)| {
        let (space, key, value) = args;
        Box::new(write_once(cx, space.into(), key, value))
    })?;
    interface.func_wrap_async("remove", |cx, (space, key): (RawSpace, Bytes)| {
        Box::new(remove(cx, space.into(), key))
    })?;
    interface.func_wrap_async("remove-range", |cx, args: (RawSpace, Bytes, u32)| {
        let (space, prefix, limit) = args;
        Box::new(remove_range(cx, space.into(), prefix, limit))
    })?;
    interface.func_wrap_async(
        "scan",
        |cx, args: (RawSpace, Bytes, Option<Bytes>, u32, bool)| {
            let (space, prefix, after, limit, reverse) = args;
            Box::new(scan(cx, space.into(), prefix, after, limit, reverse))
        },
    )?;
    interface.func_wrap_async("count", |cx, (space, prefix): (RawSpace, Bytes)| {
        Box::new(count(cx, space.into(), prefix))
    })?;
    super::sequences::add_to(&mut interface)
}

impl From<RawSpace> for Space {
    fn from(space: RawSpace) -> Space {
        match space {
            RawSpace::Shared => Space::Shared,
            RawSpace::Owned => Space::Owned,
            RawSpace::Private => Space::Private,
        }
    }
}

async fn get(mut cx: Cx<'_>, space: Space, key: Bytes) -> wasmtime::Result<(Option<Vec<u8>>,)> {
    check_place(&mut cx, key.len())?;
    enter(&mut cx, &costs::STORAGE_GET, key.len() as u64).await?;
    let value = with_state(&mut cx, |state, store| {
        state.get(space, key.as_le_slice(&store))
    })?;
    let value = answered(&mut cx, value)?;
    if let Some(value) = &value {
        charge(&mut cx, costs::STORAGE_GET.per_byte * value.len() as u64)?;
    }
    Ok((value,))
}

async fn set(mut cx: Cx<'_>, space: Space, key: Bytes, value: Bytes) -> wasmtime::Result<()> {
    let bytes = value.len() as u64;
    begin_write(&mut cx, &costs::STORAGE_SET, space, &key, bytes).await?;
    let written = with_state(&mut cx, |state, store| {
        state.set(space, key.as_le_slice(&store), value.as_le_slice(&store))
    })?;
    answered(&mut cx, written)
}

async fn add(mut cx: Cx<'_>, space: Space, key: Bytes, amount: i64) -> wasmtime::Result<(i64,)> {
    begin_write(&mut cx, &costs::STORAGE_ADD, space, &key, AMOUNT_BYTES).await?;
    let sum = with_state(&mut cx, |state, store| {
        state.add(space, key.as_le_slice(&store), amount)
    })?;
    Ok((answered(&mut cx, sum)?,))
}

async fn insert(mut cx: Cx<'_>, space: Space, key: Bytes) -> wasmtime::Result<(bool,)> {
    begin_write(&mut cx, &costs::STORAGE_INSERT, space, &key, 0).await?;
    let is_new = with_state(&mut cx, |state, store| {
        state.insert(space, key.as_le_slice(&store))
    })?;
    Ok((answered(&mut cx, is_new)?,))
}

async fn write_once(
    mut cx: Cx<'_>,
    space: Space,
    key: Bytes,
    value: Bytes,
) -> wasmtime::Result<(bool,)> {
    let bytes = value.len() as u64;
    begin_write(&mut cx, &costs::STORAGE_WRITE_ONCE, space, &key, bytes).await?;
    let is_first = with_state(&mut cx, |state, store| {
        state.write_once(space, key.as_le_slice(&store), value.as_le_slice(&store))
    })?;
    Ok((answered(&mut cx, is_first)?,))
}

async fn remove(mut cx: Cx<'_>, space: Space, key: Bytes) -> wasmtime::Result<(bool,)> {
    check_place(&mut cx, key.len())?;
    begin_change(&mut cx, &costs::STORAGE_REMOVE, space, &key, 0).await?;
    let removed = with_state(&mut cx, |state, store| {
        state.remove(space, key.as_le_slice(&store))
    })?;
    Ok((answered(&mut cx, removed)?,))
}

/// Removes in steps, as `count` counts: each is a walk that gathers keys, and
/// then their removals, and each may end the slice. What is written once is passed over: it
/// may be another node's, and must not keep a guest from removing what is its own.
async fn remove_range(
    mut cx: Cx<'_>,
    space: Space,
    prefix: Bytes,
    limit: u32,
) -> wasmtime::Result<(u32,)> {
    check_place(&mut cx, prefix.len())?;
    let data = cx.data_mut();
    let rows_max = data.limits.scan_rows_max;
    data.bound("scan_rows_max", limit.into(), rows_max)?;
    let cost = &costs::STORAGE_REMOVE_RANGE;
    enter(&mut cx, cost, prefix.len() as u64).await?;
    check_writer(&mut cx, space, &prefix)?;

    let mut removed = 0;
    let mut last: Option<Vec<u8>> = None;
    while removed < limit {
        let fuel = cx.get_fuel()?.min(cx.data().limits.slice_fuel);
        let mut walk = Walk::new(cost, fuel);
        walk.unpriced_left = cx.data().unpriced_left();
        let wanted = REMOVE_STEP.min((limit - removed) as usize);
        let mut keys = Vec::new();
        let mut rows = 0;
        let (mut more, mut is_long) = (false, false);
        let mut next = Vec::new();
        let scanned = with_state(&mut cx, |state, store| {
            let way = StateWalk {
                space,
                prefix: prefix.as_le_slice(&store),
                after: last.as_deref(),
                // However few are wanted: what is passed over is no reason for another walk.
                limit: REMOVE_STEP,
                reverse: false,
            };
            state.scan(way, &mut |key, row| {
                is_long = walk.step(key, row).is_break();
                if matches!(row, Row::Shown(_)) {
                    keys.push(key.to_vec());
                }
                rows += usize::from(row.value().is_some());
                let is_step = keys.len() == wanted || rows == REMOVE_STEP;
                more = is_long || is_step || walk.spent > walk.fuel;
                if more {
                    next.extend_from_slice(key);
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })
        })?;
        answered(&mut cx, scanned)?;
        cx.data_mut().did_unpriced(walk.take_unpriced());
        let mut spent = walk.spent;
        for key in &keys {
            let bytes = key.len() as u64;
            count_write(&mut cx, bytes)?;
            spent += costs::STORAGE_REMOVE.of_bytes(bytes);
            let gone = with_state(&mut cx, |state, _| state.remove(space, key))?;
            answered(&mut cx, gone)?;
            if cx.data().unpriced_left() == 0 {
                slice_end(&mut cx).await;
            }
        }
        removed += keys.len() as u32;
        if charge(&mut cx, spent)? || is_long {
            slice_end(&mut cx).await;
        }
        if !more {
            break;
        }
        last = Some(next);
    }
    Ok((removed,))
}

/// Ends early before the entry that would go beyond `scan_bytes_max`, which is paid for
/// all the same, as it was read.
async fn scan(
    mut cx: Cx<'_>,
    space: Space,
    prefix: Bytes,
    after: Option<Bytes>,
    limit: u32,
    reverse: bool,
) -> wasmtime::Result<(Vec<RawEntry>,)> {
    let after_bytes = after.as_ref().map_or(0, WasmList::len);
    check_place(&mut cx, prefix.len())?;
    check_place(&mut cx, after_bytes)?;
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
    let (mut entries, mut given) = (Vec::new(), 0);
    let mut resume: Option<Vec<u8>> = None;
    loop {
        walk.unpriced_left = cx.data().unpriced_left();
        let from = resume.take();
        let scanned = with_state(&mut cx, |state, store| {
            let prefix = prefix.as_le_slice(&store);
            let after = match &from {
                Some(key) => Some(&key[..]),
                None => after.as_ref().map(|after| after.as_le_slice(&store)),
            };
            let way = StateWalk {
                space,
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
                if walk.spent > walk.fuel {
                    return ControlFlow::Break(());
                }
                let Some(value) = row.value() else {
                    return ControlFlow::Continue(());
                };
                given += (key.len() + value.len()) as u64;
                // Another node may have written one that is larger than all may be together:
                // without it, nobody would come to what is behind it.
                if given > bytes_max && !entries.is_empty() {
                    return ControlFlow::Break(());
                }
                entries.push(RawEntry {
                    key: key.to_vec(),
                    value: value.to_vec(),
                });
                match given < bytes_max {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                }
            })
        })?;
        answered(&mut cx, scanned)?;
        cx.data_mut().did_unpriced(walk.take_unpriced());
        if resume.is_none() {
            break;
        }
        slice_end(&mut cx).await;
    }
    if charge(&mut cx, walk.spent)? {
        slice_end(&mut cx).await;
    }
    Ok((entries,))
}

/// Counts in steps, so that a large context cannot hold the core: each step is
/// paid for and may end the slice.
async fn count(mut cx: Cx<'_>, space: Space, prefix: Bytes) -> wasmtime::Result<(u64,)> {
    check_place(&mut cx, prefix.len())?;
    enter(&mut cx, &costs::STORAGE_COUNT, prefix.len() as u64).await?;
    let mut total = 0;
    let mut last: Option<Vec<u8>> = None;
    loop {
        let fuel = cx.get_fuel()?.min(cx.data().limits.slice_fuel);
        let mut walk = Walk::new(&costs::STORAGE_COUNT, fuel);
        walk.unpriced_left = cx.data().unpriced_left();
        let mut rows = 0;
        let (mut more, mut is_long) = (false, false);
        let mut next = Vec::new();
        let scanned = with_state(&mut cx, |state, store| {
            let prefix = prefix.as_le_slice(&store);
            let way = StateWalk {
                space,
                prefix,
                after: last.as_deref(),
                limit: COUNT_STEP,
                reverse: false,
            };
            state.scan(way, &mut |key, row| {
                is_long = walk.step(key, row).is_break();
                rows += usize::from(row.value().is_some());
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
        cx.data_mut().did_unpriced(walk.take_unpriced());
        if charge(&mut cx, walk.spent)? || is_long {
            slice_end(&mut cx).await;
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
    /// Work that costs nothing, and how much of it fits into the slice.
    unpriced: u64,
    unpriced_left: u64,
}

impl Walk {
    fn new(cost: &'static costs::HostCost, fuel: u64) -> Walk {
        Walk {
            cost,
            fuel,
            spent: 0,
            unpriced: 0,
            unpriced_left: 0,
        }
    }

    /// One row. Breaks if the slice has to end behind it, whatever it has cost.
    fn step(&mut self, key: &[u8], row: Row<'_>) -> ControlFlow<()> {
        let work = match row {
            Row::Shown(_) | Row::WrittenOnce(_) | Row::Removed => None,
            Row::Hidden => Some(costs::HIDDEN_WORK),
            Row::Unseen(bytes) => Some(bytes),
        };
        if let Some(work) = work {
            self.unpriced = self.unpriced.saturating_add(work);
            return match self.unpriced < self.unpriced_left {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            };
        }
        let bytes = (key.len() + row.bytes()) as u64;
        self.spent += self.cost.per_row + self.cost.per_byte * bytes;
        ControlFlow::Continue(())
    }

    /// The work that had no price, since this was last asked.
    fn take_unpriced(&mut self) -> u64 {
        std::mem::take(&mut self.unpriced)
    }
}

/// The bound of a key that is written.
pub(super) fn check_key(cx: &mut Cx<'_>, bytes: usize) -> wasmtime::Result<()> {
    let max = cx.data().limits.key_bytes_max;
    cx.data_mut().bound("key_bytes_max", bytes as u64, max)
}

/// The bound of a key that says where to look. Another node may have written there under bounds
/// of its own, so what a walk gives has to do as a place to go on from, whatever may be written here.
pub(super) fn check_place(cx: &mut Cx<'_>, bytes: usize) -> wasmtime::Result<()> {
    let max = cx.data().limits.key_bytes_max.max(KEY_BYTES_MAX as u64);
    cx.data_mut().bound("key_bytes_max", bytes as u64, max)
}

/// The door of every function that writes one entry: its key and so many bytes
/// beside it.
async fn begin_write(
    cx: &mut Cx<'_>,
    cost: &'static costs::HostCost,
    space: Space,
    key: &Bytes,
    value_bytes: u64,
) -> wasmtime::Result<()> {
    check_key(cx, key.len())?;
    let max = cx.data().limits.value_bytes_max;
    cx.data_mut().bound("value_bytes_max", value_bytes, max)?;
    begin_change(cx, cost, space, key, value_bytes).await
}

/// The same behind the bounds of what is written.
async fn begin_change(
    cx: &mut Cx<'_>,
    cost: &'static costs::HostCost,
    space: Space,
    key: &Bytes,
    value_bytes: u64,
) -> wasmtime::Result<()> {
    let bytes = key.len() as u64 + value_bytes;
    enter(cx, cost, bytes).await?;
    check_writer(cx, space, key)?;
    count_write(cx, bytes)
}

/// Whether the turn may write below `prefix`: it is no query, and in the owned
/// space all such keys are this author's.
pub(super) fn check_writer(cx: &mut Cx<'_>, space: Space, prefix: &Bytes) -> wasmtime::Result<()> {
    let data = cx.data_mut();
    if data.phase != Phase::Update {
        return Err(data.stop(Failure::WroteInQuery));
    }
    let author = data.facts.author;
    if space == Space::Owned && !prefix.as_le_slice(cx.as_context()).starts_with(&author) {
        let message = "a key of the owned space was written that does not begin with the \
                       public key of this node"
            .to_owned();
        return Err(cx.data_mut().stop(Failure::Misused { message }));
    }
    Ok(())
}

/// Counts a write of a turn that may.
pub(super) fn count_write(cx: &mut Cx<'_>, bytes: u64) -> wasmtime::Result<()> {
    count_writes(cx, 1, bytes)
}

/// The same of several writes, of so many bytes in all.
pub(super) fn count_writes(cx: &mut Cx<'_>, count: u64, bytes: u64) -> wasmtime::Result<()> {
    let data = cx.data_mut();
    data.used.writes += count;
    data.used.write_bytes += bytes;
    let (writes, write_bytes) = (data.used.writes, data.used.write_bytes);
    let bounds = data.facts.writes;
    data.bound(bounds.writes.0, writes, bounds.writes.1)?;
    data.bound(bounds.bytes.0, write_bytes, bounds.bytes.1)
}

/// The state's answer; a state that cannot answer ends the turn.
pub(super) fn answered<R>(cx: &mut Cx<'_>, answer: Result<R, StateError>) -> wasmtime::Result<R> {
    answer.map_err(|error| cx.data_mut().stop(error.into()))
}
