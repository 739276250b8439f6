//! What is written down so that a context's history and events can be bounded: how
//! many bytes both have (a *tally*), and where its history can be cut (*marks*). The
//! log leads from each delta to the one before it, so it can only be walked from its
//! end; every so many deltas a mark says where to begin, so that the oldest can be found
//! in steps of bounded size. Written along with deltas and events (`apply/tallies.rs`), used
//! by the collector (`apply/collect.rs`).

use rkyv::{Archive, Serialize};

use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::record::{Head, Record, RecordKind, open};

/// Deltas from one mark to the next, at most.
pub(crate) const SPAN_DELTAS_MAX: u32 = 64;

/// Bytes of deltas after which there is a mark before so many have come.
pub(crate) const SPAN_BYTES: u64 = 256 << 10;

/// How large a context's log and events are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Bytes of its deltas behind `log_from`.
    pub(crate) log_bytes: u64,
    /// The newest delta that is not counted: it was there before there was a tally.
    pub(crate) log_from: u64,
    /// Bytes of kinds and payloads of its events from `events_from` on.
    pub(crate) events_bytes: u64,
    pub(crate) events_from: u64,
    /// Since the last mark.
    pub(crate) span_deltas: u32,
    pub(crate) span_bytes: u64,
}

#[derive(Archive, Serialize)]
pub(crate) struct TallyRow {
    pub(crate) log_bytes: u64,
    pub(crate) log_from: u64,
    pub(crate) events_bytes: u64,
    pub(crate) events_from: u64,
    pub(crate) span_deltas: u32,
    pub(crate) span_bytes: u64,
}

impl Record for TallyRow {
    const KIND: RecordKind = RecordKind::Tally;
}

/// A delta up to which a context's history can be cut.
#[derive(Archive, Serialize)]
pub(crate) struct MarkRow {
    pub(crate) hlc: u64,
}

impl Record for MarkRow {
    const KIND: RecordKind = RecordKind::Mark;
}

impl Tally {
    /// Of a context that has none yet: what there is already is not counted.
    pub(crate) fn from_now(head: &Head) -> Tally {
        Tally {
            log_bytes: 0,
            log_from: head.log_last,
            events_bytes: 0,
            events_from: head.events_last + 1,
            span_deltas: 0,
            span_bytes: 0,
        }
    }

    pub(crate) fn read(key: &[u8], bytes: &[u8]) -> Result<Tally, StoreError> {
        let row = open::<TallyRow>(key, bytes)?;
        Ok(Tally {
            log_bytes: row.log_bytes.to_native(),
            log_from: row.log_from.to_native(),
            events_bytes: row.events_bytes.to_native(),
            events_from: row.events_from.to_native(),
            span_deltas: row.span_deltas.to_native(),
            span_bytes: row.span_bytes.to_native(),
        })
    }

    pub(crate) fn row(&self) -> TallyRow {
        TallyRow {
            log_bytes: self.log_bytes,
            log_from: self.log_from,
            events_bytes: self.events_bytes,
            events_from: self.events_from,
            span_deltas: self.span_deltas,
            span_bytes: self.span_bytes,
        }
    }

    /// Counts a delta. Gives whether it is to have a mark.
    pub(crate) fn add_delta(&mut self, bytes: u64) -> bool {
        self.log_bytes += bytes;
        self.span_deltas += 1;
        self.span_bytes += bytes;
        let is_due = self.span_deltas >= SPAN_DELTAS_MAX || self.span_bytes >= SPAN_BYTES;
        if is_due {
            self.span_deltas = 0;
            self.span_bytes = 0;
        }
        is_due
    }

    /// No longer counts a delta that has gone.
    pub(crate) fn subtract_delta(&mut self, position: u64, bytes: u64) {
        if position > self.log_from {
            self.log_bytes = self.log_bytes.saturating_sub(bytes);
        }
    }

    /// No longer counts an event that has gone.
    pub(crate) fn subtract_event(&mut self, sequence: u64, bytes: u64) {
        if sequence >= self.events_from {
            self.events_bytes = self.events_bytes.saturating_sub(bytes);
        }
    }
}

/// The stamp of the delta that has a mark.
pub(crate) fn read_mark(key: &[u8], bytes: &[u8]) -> Result<Hlc, StoreError> {
    Ok(Hlc::from_bits(open::<MarkRow>(key, bytes)?.hlc.to_native()))
}
