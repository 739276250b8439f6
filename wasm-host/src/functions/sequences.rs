//! The functions of `corelet:app/storage` for lists and texts: limits and price. What an
//! edit means lives behind [`GuestSequences`](crate::GuestSequences); the functions for
//! all other entries are in `storage.rs`.

use wasmtime::AsContext;
use wasmtime::component::{LinkerInstance, WasmList, WasmStr};

use super::storage::{Bytes, answered, check_key, check_place, check_writer};
use crate::costs::{self, HostCost};
use crate::guest_sequences::{Elements, RemovalStep, SequenceKind, SequenceStep};
use crate::guest_state::Space;
use crate::host_context::{Cx, HostContext, charge, enter, slice_end, with_state};
use crate::world::{RawOutOfRange, RawSpace};

/// What each element of a list counts for among the bytes written, beside its own.
const ELEMENT_BYTES: u64 = 8;

/// What is inserted in one go, before the slice ends: so many values, or bytes, unless one
/// value alone has more. A call may bring 4 MiB, which as values of a byte took 20 ms.
const PART_VALUES: usize = 2_048;
const PART_BYTES: usize = 64 << 10;

type Edited = Result<(), RawOutOfRange>;

/// The sequence that a call is about.
struct Door {
    kind: SequenceKind,
    space: Space,
    key: Bytes,
}

pub(super) fn add_to(interface: &mut LinkerInstance<'_, HostContext>) -> wasmtime::Result<()> {
    interface.func_wrap_async("list-length", |cx, (space, key): (RawSpace, Bytes)| {
        let cost = &costs::STORAGE_LIST_LENGTH;
        Box::new(length(cx, cost, list(space, key)))
    })?;
    interface.func_wrap_async(
        "list-insert",
        |cx, args: (RawSpace, Bytes, u64, WasmList<Bytes>)| {
            let (space, key, index, values) = args;
            Box::new(list_insert(cx, list(space, key), index, values))
        },
    )?;
    interface.func_wrap_async(
        "list-append",
        |cx, args: (RawSpace, Bytes, WasmList<Bytes>)| {
            let (space, key, values) = args;
            Box::new(list_append(cx, list(space, key), values))
        },
    )?;
    interface.func_wrap_async("list-remove", |cx, args: (RawSpace, Bytes, u64, u64)| {
        let (space, key, index, count) = args;
        let cost = &costs::STORAGE_LIST_REMOVE;
        Box::new(remove(cx, cost, list(space, key), index, count))
    })?;
    interface.func_wrap_async("list-read", |cx, args: (RawSpace, Bytes, u64, u32)| {
        let (space, key, index, count) = args;
        Box::new(list_read(cx, list(space, key), index, count))
    })?;
    interface.func_wrap_async("text-length", |cx, (space, key): (RawSpace, Bytes)| {
        let cost = &costs::STORAGE_TEXT_LENGTH;
        Box::new(length(cx, cost, text(space, key)))
    })?;
    interface.func_wrap_async(
        "text-insert",
        |cx, args: (RawSpace, Bytes, u64, WasmStr)| {
            let (space, key, index, what) = args;
            Box::new(text_insert(cx, text(space, key), index, what))
        },
    )?;
    interface.func_wrap_async("text-append", |cx, args: (RawSpace, Bytes, WasmStr)| {
        let (space, key, what) = args;
        Box::new(text_append(cx, text(space, key), what))
    })?;
    interface.func_wrap_async("text-remove", |cx, args: (RawSpace, Bytes, u64, u64)| {
        let (space, key, index, count) = args;
        let cost = &costs::STORAGE_TEXT_REMOVE;
        Box::new(remove(cx, cost, text(space, key), index, count))
    })?;
    interface.func_wrap_async("text-read", |cx, args: (RawSpace, Bytes, u64, u64)| {
        let (space, key, index, count) = args;
        Box::new(text_read(cx, text(space, key), index, count))
    })
}

fn list(space: RawSpace, key: Bytes) -> Door {
    Door {
        kind: SequenceKind::List,
        space: space.into(),
        key,
    }
}

fn text(space: RawSpace, key: Bytes) -> Door {
    Door {
        kind: SequenceKind::Text,
        ..list(space, key)
    }
}

async fn length(mut cx: Cx<'_>, cost: &'static HostCost, door: Door) -> wasmtime::Result<(u64,)> {
    begin(&mut cx, cost, &door, 0).await?;
    Ok((length_of(&mut cx, &door)?,))
}

async fn list_insert(
    mut cx: Cx<'_>,
    door: Door,
    index: u64,
    values: WasmList<Bytes>,
) -> wasmtime::Result<(Edited,)> {
    let cost = &costs::STORAGE_LIST_INSERT;
    begin_list(&mut cx, cost, &door, &values).await?;
    Ok((insert_values(&mut cx, &door, Some(index), &values).await?,))
}

async fn list_append(mut cx: Cx<'_>, door: Door, values: WasmList<Bytes>) -> wasmtime::Result<()> {
    let cost = &costs::STORAGE_LIST_APPEND;
    begin_list(&mut cx, cost, &door, &values).await?;
    insert_values(&mut cx, &door, None, &values).await.map(drop)
}

async fn text_insert(
    mut cx: Cx<'_>,
    door: Door,
    index: u64,
    what: WasmStr,
) -> wasmtime::Result<(Edited,)> {
    let cost = &costs::STORAGE_TEXT_INSERT;
    let text = begin_text(&mut cx, cost, &door, &what).await?;
    Ok((insert_text(&mut cx, &door, Some(index), &text).await?,))
}

async fn text_append(mut cx: Cx<'_>, door: Door, what: WasmStr) -> wasmtime::Result<()> {
    let cost = &costs::STORAGE_TEXT_APPEND;
    let text = begin_text(&mut cx, cost, &door, &what).await?;
    insert_text(&mut cx, &door, None, &text).await.map(drop)
}

async fn remove(
    mut cx: Cx<'_>,
    cost: &'static HostCost,
    door: Door,
    index: u64,
    count: u64,
) -> wasmtime::Result<(Edited,)> {
    check_place(&mut cx, door.key.len())?;
    let key_bytes = door.key.len() as u64;
    enter(&mut cx, cost, key_bytes).await?;
    check_writer(&mut cx, door.space, &door.key)?;
    count_edit(&mut cx, key_bytes)?;
    open(&mut cx, &door).await?;
    let length = length_of(&mut cx, &door)?;
    let end = index.saturating_add(count);
    if end > length {
        return Ok((Err(RawOutOfRange { index: end, length }),));
    }
    if count == 0 {
        return Ok((Ok(()),));
    }
    if charge(&mut cx, cost.per_row.saturating_mul(count))? {
        slice_end(&mut cx).await;
    }
    loop {
        let step = with_state(&mut cx, |state, store| {
            let key = door.key.as_le_slice(&store);
            state.sequence_remove(door.kind, door.space, key, index, count)
        })?;
        let (work, is_whole) = match answered(&mut cx, step)? {
            RemovalStep::Whole { work } => (work, true),
            RemovalStep::More { work } => (work, false),
        };
        let is_slice = charge(&mut cx, costs::SEQUENCE_WORK.saturating_mul(work))?;
        if is_slice || !is_whole {
            slice_end(&mut cx).await;
        }
        if is_whole {
            return Ok((Ok(()),));
        }
    }
}

async fn list_read(
    mut cx: Cx<'_>,
    door: Door,
    index: u64,
    count: u32,
) -> wasmtime::Result<(Vec<Vec<u8>>,)> {
    let data = cx.data_mut();
    let rows_max = data.limits.scan_rows_max;
    data.bound("scan_rows_max", count.into(), rows_max)?;
    let cost = &costs::STORAGE_LIST_READ;
    begin(&mut cx, cost, &door, 0).await?;
    let Elements::Values(mut values) = read(&mut cx, &door, index, count.into()).await? else {
        return Ok((Vec::new(),));
    };
    // As many as fit, and one at least: another node may have inserted a larger one.
    let (bytes_max, mut bytes) = (cx.data().limits.scan_bytes_max, 0);
    let fits = |value: &&Vec<u8>| {
        bytes += value.len() as u64;
        bytes <= bytes_max
    };
    let given = values.iter().take_while(fits).count().max(1);
    values.truncate(given);
    let bytes = values.iter().map(|value| value.len() as u64).sum();
    end_read(&mut cx, cost, values.len() as u64, bytes).await?;
    Ok((values,))
}

async fn text_read(
    mut cx: Cx<'_>,
    door: Door,
    index: u64,
    count: u64,
) -> wasmtime::Result<(String,)> {
    let cost = &costs::STORAGE_TEXT_READ;
    begin(&mut cx, cost, &door, 0).await?;
    let Elements::Text(text) = read(&mut cx, &door, index, count).await? else {
        return Ok((String::new(),));
    };
    let (max, bytes) = (cx.data().limits.scan_bytes_max, text.len() as u64);
    cx.data_mut().bound("scan_bytes_max", bytes, max)?;
    end_read(&mut cx, cost, 0, bytes).await?;
    Ok((text,))
}

/// The door of a read: its price, and the sequence in memory.
async fn begin(
    cx: &mut Cx<'_>,
    cost: &'static HostCost,
    door: &Door,
    bytes: u64,
) -> wasmtime::Result<()> {
    check_place(cx, door.key.len())?;
    enter(cx, cost, door.key.len() as u64 + bytes).await?;
    open(cx, door).await
}

/// The door of an insertion into a list.
async fn begin_list(
    cx: &mut Cx<'_>,
    cost: &'static HostCost,
    door: &Door,
    values: &WasmList<Bytes>,
) -> wasmtime::Result<()> {
    let count = values.len() as u64;
    let mut written = ELEMENT_BYTES.saturating_mul(count);
    // Before each is looked at.
    let value_bytes_max = cx.data().limits.value_bytes_max;
    let data = cx.data_mut();
    let (limit, max) = data.facts.writes.bytes;
    data.bound(limit, written, max)?;
    let mut bytes = 0;
    for at in 0..values.len() {
        let value = value_at(cx, values, at)?.len() as u64;
        let data = cx.data_mut();
        data.bound("value_bytes_max", value, value_bytes_max)?;
        bytes += value;
        if (at + 1).is_multiple_of(PART_VALUES) {
            slice_end(cx).await;
        }
    }
    written += bytes;
    begin_insert(cx, cost, door, bytes, written, count).await
}

fn value_at(cx: &mut Cx<'_>, values: &WasmList<Bytes>, at: usize) -> wasmtime::Result<Bytes> {
    let value = values.get(&mut *cx, at);
    value.expect("it is within the length of the list")
}

/// The door of an insertion into a text.
async fn begin_text(
    cx: &mut Cx<'_>,
    cost: &'static HostCost,
    door: &Door,
    what: &WasmStr,
) -> wasmtime::Result<String> {
    let bytes = what.to_str(cx.as_context())?.len() as u64;
    let max = cx.data().limits.value_bytes_max;
    cx.data_mut().bound("value_bytes_max", bytes, max)?;
    begin_insert(cx, cost, door, bytes, bytes, 0).await?;
    let text = what.to_str(cx.as_context())?;
    Ok(text.into_owned())
}

async fn begin_insert(
    cx: &mut Cx<'_>,
    cost: &'static HostCost,
    door: &Door,
    bytes: u64,
    written: u64,
    rows: u64,
) -> wasmtime::Result<()> {
    let key_bytes = door.key.len() as u64;
    check_key(cx, door.key.len())?;
    enter(cx, cost, key_bytes + bytes).await?;
    check_writer(cx, door.space, &door.key)?;
    count_edit(cx, key_bytes + written)?;
    if charge(cx, cost.per_row.saturating_mul(rows))? {
        slice_end(cx).await;
    }
    open(cx, door).await
}

/// Inserts a text at a place, or at the end, in parts.
async fn insert_text(
    cx: &mut Cx<'_>,
    door: &Door,
    index: Option<u64>,
    text: &str,
) -> wasmtime::Result<Edited> {
    let mut index = match place(cx, door, index)? {
        Ok(index) => index,
        Err(beyond) => return Ok(Err(beyond)),
    };
    let mut rest = text;
    while !rest.is_empty() {
        let mut end = rest.len().min(PART_BYTES);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (part, behind) = rest.split_at(end);
        index = insert(cx, door, index, Elements::Text(part.to_owned()))?;
        rest = behind;
        if !rest.is_empty() {
            slice_end(cx).await;
        }
    }
    Ok(Ok(()))
}

/// The same of values.
async fn insert_values(
    cx: &mut Cx<'_>,
    door: &Door,
    index: Option<u64>,
    values: &WasmList<Bytes>,
) -> wasmtime::Result<Edited> {
    let mut index = match place(cx, door, index)? {
        Ok(index) => index,
        Err(beyond) => return Ok(Err(beyond)),
    };
    let mut at = 0;
    while at < values.len() {
        let (mut part, mut bytes) = (Vec::new(), 0);
        while at < values.len() && part.len() < PART_VALUES && bytes < PART_BYTES {
            let value = value_at(cx, values, at)?;
            let copy = value.as_le_slice(cx.as_context()).to_vec();
            bytes += copy.len();
            part.push(copy);
            at += 1;
        }
        index = insert(cx, door, index, Elements::Values(part))?;
        if at < values.len() {
            slice_end(cx).await;
        }
    }
    Ok(Ok(()))
}

/// Where an insertion begins, at a place or at the end.
fn place(
    cx: &mut Cx<'_>,
    door: &Door,
    index: Option<u64>,
) -> wasmtime::Result<Result<u64, RawOutOfRange>> {
    let length = length_of(cx, door)?;
    let index = index.unwrap_or(length);
    Ok(match index > length {
        true => Err(RawOutOfRange { index, length }),
        false => Ok(index),
    })
}

/// Inserts elements, one at least. Gives the place behind them.
fn insert(cx: &mut Cx<'_>, door: &Door, index: u64, elements: Elements) -> wasmtime::Result<u64> {
    let behind = index + elements.len();
    let inserted = with_state(cx, |state, store| {
        state.sequence_insert(door.space, door.key.as_le_slice(&store), index, elements)
    })?;
    answered(cx, inserted)?;
    Ok(behind)
}

/// As much as there is of what was asked for, within what a read may return, in as many slices
/// as that takes. What comes of it goes to the guest in one go, which is a copy of
/// `scan_bytes_max` at most: a tenth of a millisecond for 4 MiB.
async fn read(cx: &mut Cx<'_>, door: &Door, index: u64, count: u64) -> wasmtime::Result<Elements> {
    let bytes_max = cx.data().limits.scan_bytes_max;
    let length = length_of(cx, door)?;
    let index = index.min(length);
    let count = count.min(length - index);
    let mut all = read_some(cx, door, index, count, bytes_max)?;
    let (mut got, mut bytes) = (all.len(), all.bytes());
    while got < count && bytes <= bytes_max {
        slice_end(cx).await;
        // Others may have let go of it meanwhile.
        open(cx, door).await?;
        let more = read_some(cx, door, index + got, count - got, bytes_max - bytes)?;
        if more.is_empty() {
            break;
        }
        (got, bytes) = (got + more.len(), bytes + more.bytes());
        all.append(more);
    }
    Ok(all)
}

fn read_some(
    cx: &mut Cx<'_>,
    door: &Door,
    index: u64,
    count: u64,
    bytes_max: u64,
) -> wasmtime::Result<Elements> {
    let elements = with_state(cx, |state, store| {
        let key = door.key.as_le_slice(&store);
        state.sequence_read(door.kind, door.space, key, index, count, bytes_max)
    })?;
    answered(cx, elements)
}

async fn end_read(
    cx: &mut Cx<'_>,
    cost: &'static HostCost,
    rows: u64,
    bytes: u64,
) -> wasmtime::Result<()> {
    if charge(cx, cost.per_row * rows + cost.per_byte * bytes)? {
        slice_end(cx).await;
    }
    Ok(())
}

fn length_of(cx: &mut Cx<'_>, door: &Door) -> wasmtime::Result<u64> {
    let length = with_state(cx, |state, store| {
        state.sequence_length(door.kind, door.space, door.key.as_le_slice(&store))
    })?;
    answered(cx, length)
}

/// Brings the sequence into memory, however many slices that takes.
async fn open(cx: &mut Cx<'_>, door: &Door) -> wasmtime::Result<()> {
    loop {
        let step = with_state(cx, |state, store| {
            state.sequence_open(door.kind, door.space, door.key.as_le_slice(&store))
        })?;
        let (bytes, is_open) = match answered(cx, step)? {
            SequenceStep::Open { bytes } => (bytes, true),
            SequenceStep::More { bytes } => (bytes, false),
        };
        let max = cx.data().limits.sequences_bytes_max;
        cx.data_mut().bound("sequences_bytes_max", bytes, max)?;
        if is_open {
            return Ok(());
        }
        slice_end(cx).await;
    }
}

/// Counts an edit, and what it brings along.
fn count_edit(cx: &mut Cx<'_>, bytes: u64) -> wasmtime::Result<()> {
    let data = cx.data_mut();
    data.used.edits += 1;
    data.used.write_bytes += bytes;
    let (edits, write_bytes) = (data.used.edits, data.used.write_bytes);
    let bounds = data.facts.writes;
    data.bound(bounds.edits.0, edits, bounds.edits.1)?;
    data.bound(bounds.bytes.0, write_bytes, bounds.bytes.1)
}
