//! Contexts that are out of service, as a record of theirs is damaged: who they are,
//! why, and the calls that were acknowledged but cannot be brought into them until they are
//! whole again. Their neighbours on the shard go on. How one gets in and out is in
//! `apply/quarantine.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use heed::{RoTxn, WithoutTls};
use rkyv::with::InlineAsBox;
use rkyv::{Archive, Serialize};

use crate::error::StoreError;
use crate::ids::{ContextId, ContextSlot};
use crate::layout::{self, Tables, slot_key};
use crate::record::{Head, Record, RecordKind, open};

/// The longest reason that is kept.
pub const QUARANTINE_REASON_BYTES_MAX: usize = 512;

/// A context that is out of service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// The context.
    pub context: ContextId,
    /// Its slot.
    pub slot: ContextSlot,
    /// What is damaged.
    pub why: String,
    /// Calls that were acknowledged and wait for it; 0 if the record of that is damaged.
    pub aside: u64,
}

/// Contexts that are out of service without a record that says so, as there was no room for one: for as
/// long as the ledger is open. Seen by all its snapshots, on whichever thread.
#[derive(Clone, Default)]
pub(crate) struct Unwritten(Arc<[UnwrittenOne]>);

struct UnwrittenOne {
    out: Quarantined,
    /// It was put back into service, or deleted.
    is_over: AtomicBool,
}

impl Unwritten {
    pub(crate) fn of(contexts: impl Iterator<Item = Quarantined>) -> Unwritten {
        let one = |out| UnwrittenOne {
            out,
            is_over: AtomicBool::new(false),
        };
        Unwritten(contexts.map(one).collect())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Quarantined> {
        let those = self.0.iter();
        let those = those.filter(|one| !one.is_over.load(Ordering::Relaxed));
        those.map(|one| &one.out)
    }

    /// The context is in service again, or no more.
    pub(crate) fn end(&self, context: &ContextId) {
        for one in self.0.iter().filter(|one| one.out.context == *context) {
            one.is_over.store(true, Ordering::Relaxed);
        }
    }
}

/// Why a context is out of service.
#[derive(Archive, Serialize)]
pub(crate) struct QuarantineRow<'a> {
    pub(crate) context: [u8; 32],
    /// Calls that were put aside.
    pub(crate) aside: u64,
    #[rkyv(with = InlineAsBox)]
    pub(crate) why: &'a str,
}

/// A call that was acknowledged and is not in the context, as the journal had it.
#[derive(Archive, Serialize)]
pub(crate) struct AsideRow<'a> {
    #[rkyv(with = InlineAsBox)]
    pub(crate) canonical: &'a [u8],
    #[rkyv(with = InlineAsBox)]
    pub(crate) local: &'a [u8],
}

impl Record for QuarantineRow<'_> {
    const KIND: RecordKind = RecordKind::Quarantine;
}
impl Record for AsideRow<'_> {
    const KIND: RecordKind = RecordKind::Aside;
}

impl Quarantined {
    /// The record under `key`; none if that is of a call that was put aside.
    pub(crate) fn read(key: &[u8], bytes: &[u8]) -> Result<Option<Quarantined>, StoreError> {
        let Some(slot) = layout::read_u64(key).map(ContextSlot::new) else {
            return Ok(None);
        };
        let row = open::<QuarantineRow>(key, bytes)?;
        Ok(Some(Quarantined {
            context: ContextId::from_bytes(row.context),
            slot,
            why: row.why.get().to_owned(),
            aside: row.aside.to_native(),
        }))
    }
}

/// The slot of a context whose record is damaged, if what is written of its being out of service
/// or its head says so. Takes time in proportion to the ledger's contexts.
pub(crate) fn slot_by_others(
    tables: Tables,
    txn: &RoTxn<'_, WithoutTls>,
    id: &ContextId,
) -> heed::Result<Option<ContextSlot>> {
    for row in tables.quarantine.iter(txn)? {
        let (key, bytes) = row?;
        if let Ok(Some(found)) = Quarantined::read(key, bytes)
            && found.context == *id
            // What a context has left behind that was deleted says nothing of a later one.
            && tables.graves.get(txn, key)?.is_none()
        {
            return Ok(Some(found.slot));
        }
    }
    for row in tables.heads.iter(txn)? {
        let (key, bytes) = row?;
        if Head::read(key, bytes).is_ok_and(|head| head.context == *id) {
            return Ok(layout::read_u64(key).map(ContextSlot::new));
        }
    }
    Ok(None)
}

/// The key of a call that was put aside.
pub(crate) fn aside_key(slot: ContextSlot, number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&slot_key(slot));
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

/// A reason that is not too long to be kept.
pub(crate) fn cut(why: &str) -> &str {
    let mut end = why.len().min(QUARANTINE_REASON_BYTES_MAX);
    while !why.is_char_boundary(end) {
        end -= 1;
    }
    &why[..end]
}
