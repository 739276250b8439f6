//! Whether what is to be written has room: on the disk, of which some is reserved (`reserve.rs`),
//! and in the map. How many pages a checkpoint may need is reckoned here from what it brings in.
//! What is done where there is none is in `writer.rs`.

use heed::{Env, RwTxn, WithoutTls};

use super::LedgerWriter;
use crate::apply::Pass;
use crate::data_file;
use crate::error::StoreError;
use crate::journal::Journal;
use crate::layout::{self, META_FORMAT};
use crate::ledger::{commit_error, free_pages};
use crate::place::DATA_FILE;
use crate::reserve::PAGES_FOR_FREEING;

/// Pages that a checkpoint may need beside those of the writes it brings in:
/// for heads, roots of tables and the list of free pages.
pub(super) const CHECKPOINT_PAGES: u64 = 256;

/// Pages that one write, of an entry or of a node of a trie, may need: a leaf and one to
/// split it into, and the same above them; a large value has pages of its own, which count by their bytes.
const WRITE_PAGES: u64 = 4;

/// The same of the disk, where more than needed takes space from others: of one write that goes
/// elsewhere than those before it, a page and one to split it into.
const DIRTY_PAGES: u64 = 2;

/// The same of a context that was written to: its head, its tally and its last event.
const CONTEXT_PAGES: u64 = 3;

impl LedgerWriter<'_> {
    /// Whether the disk has space for so many pages more than at the last checkpoint, and for
    /// what frees some.
    pub(super) fn reach(&mut self, growth: u64) -> Result<bool, StoreError> {
        let pages = pages_used(&self.shared.env);
        self.state.reserve.reach(pages + growth)
    }

    /// Whether so many pages are free inside the file and behind it, beside those for freeing.
    pub(super) fn has_room_inside(&mut self, growth: u64) -> bool {
        let state = &*self.state;
        let behind = state
            .reserve
            .reserved()
            .behind(state.pages * layout::PAGE_BYTES);
        self.has_free(growth + PAGES_FOR_FREEING, behind / layout::PAGE_BYTES)
    }

    /// The same, if the file can grow no further than the map. No more pages are written than
    /// there are, so that a small ledger takes a large call of which `growth` says far too much.
    pub(super) fn has_room_in_map(&mut self, growth: u64) -> Result<bool, StoreError> {
        let pages_max = self.state.pages_max;
        let pass = self.pass.as_ref().expect("something was written");
        let there = pass.pages_there()? + pass.trie_changes() as u64;
        let for_checkpoint = CHECKPOINT_PAGES.min(pages_max / 8);
        let growth = there.min(growth - CHECKPOINT_PAGES) + for_checkpoint;
        let behind = pages_max.saturating_sub(self.state.pages);
        Ok(self.has_free(growth + for_freeing_in_map(pages_max), behind))
    }

    /// Whether so many pages are free inside the file, but for those that are behind it. One
    /// inside that a snapshot may need is not free, nor is one that the last transaction has freed: instead of it the
    /// file grows.
    fn has_free(&mut self, pages: u64, behind: u64) -> bool {
        let needed = pages.saturating_sub(behind);
        let state = &*self.state;
        let free = |snapshot| free_pages(state.pages, &snapshot);
        if self.snapshot().and_then(free).unwrap_or_default() < needed {
            return false;
        }
        let last = self.shared.env.info().last_txn_id;
        let shown = self.shared.readers.oldest().unwrap_or(last);
        let is_free_before = |transaction: usize| {
            let file = self.shared.env.path().join(DATA_FILE);
            let free = data_file::free_before(&file, transaction as u64);
            free.is_ok_and(|free| free >= needed)
        };
        let has_room = is_free_before(last.min(shown));
        self.state.is_turn_due = !has_room && shown >= last && is_free_before(last + 1);
        has_room
    }

    /// Commits a transaction that changes nothing, as what the one before it has freed is used
    /// again by the one behind it.
    pub(super) fn turn(&mut self) -> Result<(), StoreError> {
        let env = &self.shared.env;
        let meta = self.shared.tables.meta;
        let turn = || -> heed::Result<RwTxn<'_>> {
            let mut txn = env.write_txn()?;
            if let Some(same) = meta.get(&txn, META_FORMAT)?.map(<[u8]>::to_vec) {
                meta.put(&mut txn, META_FORMAT, &same)?;
            }
            Ok(txn)
        };
        let txn = turn().map_err(|error| self.engine(error))?;
        txn.commit().map_err(|error| commit_error(error, env))
    }

    /// By how many pages the next checkpoint lets the file grow at most.
    #[cfg(test)]
    pub(crate) fn growth(&self) -> u64 {
        let pass = self.pass.as_ref().expect("something was written");
        growth_of(pass, &self.state.journal)
    }

    /// As if the disk had no space left from now on, or had some again.
    #[cfg(test)]
    pub(crate) fn fill_disk(&mut self, is_full: bool) {
        self.state.reserve.is_disk_full = is_full;
    }
}

/// Pages that a checkpoint of `pass` needs at the very most.
pub(super) fn pages_of(pass: &Pass<'_>, journal: &Journal) -> u64 {
    // Large values lie in an entry and in the log; an entry of which a small write changes a
    // part is put as a whole.
    let bytes = 2 * journal.bytes_with_next() + pass.work_bytes() + pass.added_bytes();
    let large = bytes / layout::PAGE_BYTES;
    WRITE_PAGES * (pass.writes() + pass.trie_changes()) as u64 + large + CHECKPOINT_PAGES
}

/// By how many pages a checkpoint of `pass` lets the file grow at most, as far as can be told
/// without looking at each table: what is a little more finds its space among the pages for
/// freeing.
pub(super) fn growth_of(pass: &Pass<'_>, journal: &Journal) -> u64 {
    // Values and rows of the log, and large records of any kind, lie on pages that may be half full.
    let bytes = 2 * journal.bytes_with_next() + pass.work_bytes() + pass.added_bytes();
    let large = 2 * bytes / layout::PAGE_BYTES;
    let apart = DIRTY_PAGES * pass.pages() as u64 + CONTEXT_PAGES * pass.contexts() as u64;
    apart + large + CHECKPOINT_PAGES
}

/// Pages of a map of so many that are left to those who free some: as many as of the disk, and
/// of a small map no more than an eighth.
pub(super) fn for_freeing_in_map(pages_max: u64) -> u64 {
    PAGES_FOR_FREEING.min(pages_max / 8)
}

pub(super) fn pages_used(env: &Env<WithoutTls>) -> u64 {
    env.info().last_page_number as u64 + 1
}

/// What is said of a write for which nothing can be reserved.
pub(super) fn nothing_reserved() -> StoreError {
    let why = "No space left on device: none can be reserved for the ledger";
    StoreError::DiskFull {
        source: std::io::Error::new(std::io::ErrorKind::StorageFull, why),
    }
}
