//! The deltas that a context had before it was shared. Nobody could name them as parents,
//! so no record says what each had seen; from now on somebody may who has begun with
//! the oldest of them and comes after the others. Entered by the sweep, the newest first
//! and a bounded number at a time; until then a delta that follows one of them lacks it.

use heed::{Env, RwTxn, WithoutTls};

use crate::authors::Authors;
use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::ids::{ContextSlot, DeltaId};
use crate::layout::{self, Tables, dag_key, position_key};
use crate::ledger::engine_error;
use crate::record::{
    BacklogRow, BacklogRowWithoutStamps, DagNode, Head, Logged, RecordKind, open, read_seen, seal,
    seen_rows,
};
use crate::sweep::{Damaged, Part, Rows};
use crate::version::{Dot, VersionVector};

/// The deltas of a context that are not entered yet.
pub(crate) struct Backlog {
    /// The newest of them, and with it all before it.
    pub(crate) position: u64,
    /// What the context had seen when it was shared.
    pub(crate) seen: VersionVector,
}

impl Backlog {
    pub(crate) fn read(key: &[u8], bytes: &[u8]) -> Result<Backlog, StoreError> {
        // The second byte of a record is its kind.
        if bytes.get(1) != Some(&(RecordKind::BacklogWithoutStamps as u8)) {
            let row = open::<BacklogRow>(key, bytes)?;
            return Ok(Backlog {
                position: row.position.to_native(),
                seen: read_seen(RecordKind::Backlog, key, &row.seen)?,
            });
        }
        let row = open::<BacklogRowWithoutStamps>(key, bytes)?;
        // Up to whichever stamp each delta allows.
        let whole = |author: u32| (author, Hlc::from_bits(u64::MAX));
        let authors = row.authors.iter().map(|author| whole(author.to_native()));
        let why = "the authors of its context are not in order";
        let disorder = || StoreError::corrupt(RecordKind::Backlog.what(), key, why);
        Ok(Backlog {
            position: row.position.to_native(),
            seen: VersionVector::from_pairs(authors).ok_or_else(disorder)?,
        })
    }

    pub(crate) fn seal(&self, out: &mut Vec<u8>, key: &[u8]) {
        let row = BacklogRow {
            position: self.position,
            seen: &seen_rows(&self.seen),
        };
        seal(out, key, &row);
    }

    /// What the delta that `dot` names had seen: everything with a lower stamp, as in one node
    /// each call follows all before it with a later stamp.
    pub(crate) fn past_of(&self, dot: Dot, position: u64) -> DagNode {
        let before = Hlc::from_bits(dot.hlc.bits().saturating_sub(1));
        let pairs = self.seen.pairs().iter();
        let seen = pairs.map(|&(author, newest)| (author, newest.min(before)));
        DagNode {
            position,
            dot,
            seen: VersionVector::from_pairs(seen)
                .expect("the authors of a version vector are in order"),
        }
    }
}

/// Enters up to `max` deltas.
pub(crate) fn enter(
    env: &Env<WithoutTls>,
    tables: Tables,
    txn: &mut RwTxn<'_>,
    max: usize,
    damaged: &mut Damaged,
) -> Result<Part, StoreError> {
    let mut rows = Rows::of(env, tables, tables.backlog);
    let mut known = None;
    let mut seen = 0;
    while let Some((key, record)) = rows.first(txn)? {
        if seen >= max {
            return Ok(Part {
                records: max,
                is_done: false,
            });
        }
        if known.is_none() {
            known = Some(Authors::load(env, tables, txn)?);
        }
        let known = known.as_ref().expect("they were read above");
        match enter_of(env, tables, txn, known, (&key, &record), max - seen) {
            Ok(records) => seen += records,
            Err(error) => rows.pass_over(key, error, damaged)?,
        }
    }
    Ok(Part {
        records: seen.min(max),
        is_done: true,
    })
}

/// The same of one context.
fn enter_of(
    env: &Env<WithoutTls>,
    tables: Tables,
    txn: &mut RwTxn<'_>,
    known: &Authors,
    (key, bytes): (&[u8], &[u8]),
    max: usize,
) -> Result<usize, StoreError> {
    let failed = |error| engine_error("a sweep", error, env);
    let corrupt = || StoreError::corrupt("record of a backlog", key, "its key has no slot");
    let slot = layout::read_u64(key)
        .map(ContextSlot::new)
        .ok_or_else(corrupt)?;
    let mut backlog = Backlog::read(key, bytes)?;
    let head = tables.heads.get(txn, key).map_err(failed)?;
    let missing = || StoreError::corrupt("head record", key, "it is missing");
    let pruned = Head::read(key, head.ok_or_else(missing)?)?.log_pruned;
    let mut record = Vec::new();
    let mut seen = 0;
    while backlog.position > pruned && seen < max {
        let (id, node, previous) = node_at(env, tables, txn, slot, &backlog, known)?;
        let dag_key = dag_key(slot, &id);
        if tables.dag.get(txn, &dag_key).map_err(failed)?.is_none() {
            node.seal(&mut record, &dag_key);
            tables.dag.put(txn, &dag_key, &record).map_err(failed)?;
        }
        backlog.position = previous;
        seen += 1;
    }
    if backlog.position > pruned {
        backlog.seal(&mut record, key);
        tables.backlog.put(txn, key, &record).map_err(failed)?;
    } else {
        tables.backlog.delete(txn, key).map_err(failed)?;
        // The record itself was looked at.
        seen += 1;
    }
    Ok(seen)
}

/// The newest delta of the backlog, what it had seen, and the position of the one before it.
fn node_at(
    env: &Env<WithoutTls>,
    tables: Tables,
    txn: &RwTxn<'_>,
    slot: ContextSlot,
    backlog: &Backlog,
    known: &Authors,
) -> Result<(DeltaId, DagNode, u64), StoreError> {
    let position = backlog.position;
    let key = position_key(position);
    let corrupt = |why| StoreError::corrupt("log record", &key, why);
    let found = tables.log.get(txn, &key);
    let found = found.map_err(|error| engine_error("a sweep", error, env))?;
    let row = Logged::read(&key, found.ok_or_else(|| corrupt("it is missing"))?)?;
    if row.slot != slot || row.previous >= position {
        return Err(corrupt("it is not one of the context that points to it"));
    }
    let delta = row.delta(&key)?;
    let author = known.find(delta.author());
    let author = author.ok_or_else(|| corrupt("its author is unknown to the ledger"))?;
    let dot = Dot {
        author,
        hlc: delta.hlc(),
    };
    let node = backlog.past_of(dot, position);
    Ok((delta.id(), node, row.previous))
}
