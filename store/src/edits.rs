//! The edits of lists and texts, as stored: the one place that reads their records, and
//! that knows which of them are still part of their sequence. What a removal has left
//! lies there until it is swept (`sweep.rs`). What the edits make is in `saved.rs`.

use std::ops::Bound;

use heed::RoTxn;

use crate::change::Birth;
use crate::error::StoreError;
use crate::ids::NodeId;
use crate::layout::{self, Table};
use crate::record::{ArchivedEditRow, RecordKind, read_edit};
use crate::version::Dot;

/// The births that a sequence has.
pub(crate) struct Alive {
    /// In ascending order, by number and by name.
    dots: Vec<Dot>,
    names: Vec<Birth>,
}

/// An edit as stored.
pub(crate) struct StoredEdit<'t> {
    pub(crate) key: &'t [u8],
    pub(crate) dot: Dot,
    /// Whether it says that there is a record of what it had seen. If it does not there
    /// may be one all the same, from a format in which it could not say so.
    pub(crate) has_seen: bool,
    /// Bytes of key and record.
    pub(crate) stored_bytes: u64,
    row: &'t ArchivedEditRow<'t>,
}

/// Why edits cannot be read.
pub(crate) enum EditError {
    Engine(heed::Error),
    Damaged(StoreError),
}

impl Alive {
    /// `name` knows authors by number.
    pub(crate) fn of(
        births: &[Dot],
        name: impl Fn(u32) -> Result<Option<NodeId>, StoreError>,
    ) -> Result<Alive, StoreError> {
        let unknown = || StoreError::corrupt("entry", &[], "the author of a birth is unknown");
        let mut names = Vec::with_capacity(births.len());
        for dot in births {
            names.push(Birth {
                author: name(dot.author)?.ok_or_else(unknown)?,
                hlc: dot.hlc,
            });
        }
        names.sort_unstable();
        let dots = births.to_vec();
        Ok(Alive { dots, names })
    }

    /// Whether an edit is part of the sequence, and not what a removal has left: every
    /// birth that it builds on is there, or it is one itself that is.
    pub(crate) fn needs(&self, edit: &StoredEdit<'_>) -> bool {
        let mut births = edit.row.births.iter().map(Birth::of).peekable();
        match births.peek() {
            None => self.dots.binary_search(&edit.dot).is_ok(),
            Some(_) => births.all(|birth| self.names.binary_search(&birth).is_ok()),
        }
    }
}

impl<'t> StoredEdit<'t> {
    /// What it builds on; none if it has begun the sequence.
    pub(crate) fn births(&self) -> impl Iterator<Item = Birth> {
        self.row.births.iter().map(Birth::of)
    }

    /// The edit, as its delta has it.
    pub(crate) fn update(&self) -> &'t [u8] {
        self.row.update.get()
    }
}

/// The same of an edit that is not stored: whether a sequence with these births, in
/// ascending order, has an edit that builds on those.
pub(crate) fn is_part(alive: &[Dot], edit: Dot, births: &[Dot]) -> bool {
    let is_alive = |birth: &Dot| alive.binary_search(birth).is_ok();
    match births {
        [] => is_alive(&edit),
        births => births.iter().all(is_alive),
    }
}

/// The edits whose keys begin with `prefix`, behind the key `after` if that is not empty, in
/// the order of their stamps: so each comes behind all that its delta had seen.
pub(crate) fn read<'t>(
    table: Table,
    txn: &'t RoTxn<'_>,
    prefix: &[u8],
    after: &[u8],
) -> Result<impl Iterator<Item = Result<StoredEdit<'t>, EditError>> + use<'t>, EditError> {
    let start = match after {
        [] => Bound::Included(prefix),
        after => Bound::Excluded(after),
    };
    let rows = table
        .range(txn, &(start, Bound::Unbounded))
        .map_err(EditError::Engine)?;
    let prefix = prefix.to_vec();
    let is_here = move |row: &heed::Result<(&[u8], &[u8])>| match row {
        Ok((key, _)) => key.starts_with(&prefix),
        Err(_) => true,
    };
    Ok(rows.take_while(is_here).map(|row| {
        let (key, bytes) = row.map_err(EditError::Engine)?;
        let (row, has_seen) = read_edit(key, bytes).map_err(EditError::Damaged)?;
        let dot = layout::edit_dot(key).ok_or_else(|| {
            EditError::Damaged(StoreError::corrupt("edit", key, "its key is too short"))
        })?;
        Ok(StoredEdit {
            key,
            dot,
            has_seen,
            stored_bytes: (key.len() + bytes.len()) as u64,
            row,
        })
    }))
}

/// An edit says that it had seen others, and nothing says which: without that it would be
/// void, or mean another place.
pub(crate) fn seen_is_missing(key: &[u8]) -> StoreError {
    StoreError::corrupt(RecordKind::EditSeen.what(), key, "it is missing")
}
