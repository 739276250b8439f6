//! LMDB's data file before LMDB has it. LMDB maps the file and believes its meta
//! pages; where the file ends before a page that they lead to, reading that page
//! ends the process with SIGBUS. So whether the file is whole is found out here,
//! by plain reads. Used by `ledger.rs` each time it opens. Start at [`check`].
//!
//! The layout is the one of LMDB's data version 1 on machines of 64 bits, in the
//! machine's own byte order, as `mdb.c` of lmdb-master-sys 0.2.6 declares it in
//! `MDB_page`, `MDB_meta`, `MDB_db` and `MDB_node`. Of `mm_last_pg` it says: "the
//! file may be shorter if the freeDB lists the final pages". That happens: a page
//! that is taken and given back within one transaction is never written. So a
//! file that ends early is whole if and only if every page that it lacks is free,
//! and then the list of free pages has to be read.

pub(crate) mod pages;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::{Loss, StoreError};

/// `MDB_MAGIC` and `MDB_DATA_VERSION`.
const MAGIC: u32 = 0xBEEF_C0DE;
const VERSION: u32 = 1;

/// `PAGEHDRSZ`: number (8), padding (2), flags (2), bounds of the free space or
/// pages of a large value (4).
const PAGE_HEADER_BYTES: usize = 16;
const P_BRANCH: u16 = 0x01;
const P_LEAF: u16 = 0x02;
const P_META: u16 = 0x08;

/// `NODESIZE`: low and high half of a size or page number (4), flags (2), length
/// of the key (2).
const NODE_HEADER_BYTES: usize = 8;
const F_BIGDATA: u16 = 0x01;

const DAMAGED_LIST: &str = "its list of free pages is damaged";

/// `P_INVALID`: the root of a tree without pages.
const NO_PAGE: u64 = u64::MAX;

/// Bytes of a page header and the `MDB_meta` behind it: magic (4), version (4),
/// address (8), size of the map (8), two `MDB_db` (48 each), last page (8),
/// transaction (8). An `MDB_db` begins with a number (4), which in the first one
/// is the size of a page, and ends with its root (8).
const META_BYTES: usize = PAGE_HEADER_BYTES + 136;
const META_AT: usize = PAGE_HEADER_BYTES;
const PAGE_BYTES_AT: usize = META_AT + 24;
const FREE_ROOT_AT: usize = PAGE_BYTES_AT + 40;
const LAST_PAGE_AT: usize = META_AT + 120;
const TRANSACTION_AT: usize = META_AT + 128;

/// The smallest page that LMDB can have, and the largest.
const PAGE_BYTES_MIN: u64 = 512;
const PAGE_BYTES_MAX: u64 = 32 << 10;

/// Checks that every page that LMDB may read lies in the file at `path`. What is
/// in these pages is left to LMDB and to the records' checksums.
pub(crate) fn check(path: &Path) -> Result<(), StoreError> {
    let data = DataFile::open(path)?;
    let bytes = data.bytes;
    let meta = data.newer_meta()?;
    let pages = bytes / meta.page_bytes;
    if pages > meta.last_page || data.lacks_only_free_pages(&meta, pages)? {
        return Ok(());
    }
    Err(data.cut_off((meta.last_page.saturating_add(1)).saturating_mul(meta.page_bytes)))
}

/// How many pages the list of free pages of the file at `path` has of transactions before
/// `transaction`. While no transaction is being committed, it may be asked of a file that is
/// open: what was committed last is not written to.
pub(crate) fn free_before(path: &Path, transaction: u64) -> Result<u64, StoreError> {
    let data = DataFile::open(path)?;
    let meta = data.newer_meta()?;
    let pages = data.bytes / meta.page_bytes;
    let mut free = 0;
    data.each_free(&meta, pages, &mut |node| {
        let is_before = u64_at(node.key, 0).is_some_and(|freed| freed < transaction);
        if is_before && let Some(list) = data.list(node, &meta, pages, size_of::<u64>())? {
            // What a damaged list says of its length may be any number.
            free = u64::saturating_add(free, u64_at(&list, 0).unwrap_or(0));
        }
        Ok(true)
    })?;
    Ok(free)
}

struct DataFile<'p> {
    file: File,
    path: &'p Path,
    bytes: u64,
}

/// What one of the two meta pages says.
struct Meta {
    /// Which of the two pages.
    number: u64,
    page_bytes: u64,
    free_root: u64,
    last_page: u64,
    transaction: u64,
}

impl<'p> DataFile<'p> {
    fn open(path: &'p Path) -> Result<DataFile<'p>, StoreError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::lost(path, Loss::Missing));
            }
            Err(error) => return Err(StoreError::file("open", path)(error)),
        };
        let found = file.metadata();
        let bytes = found.map_err(StoreError::file("read the size of", path))?;
        match bytes.len() {
            0 => Err(StoreError::lost(path, Loss::Empty)),
            bytes => Ok(DataFile { file, path, bytes }),
        }
    }

    /// The meta page that LMDB will go by.
    fn newer_meta(&self) -> Result<Meta, StoreError> {
        let first = self.meta(0, 2 * PAGE_BYTES_MIN)?;
        let bytes_min = first.last_page.saturating_add(1);
        let second = self.meta(first.page_bytes, bytes_min.saturating_mul(first.page_bytes))?;
        Ok(match first.transaction < second.transaction {
            true => second,
            false => first,
        })
    }

    fn meta(&self, at: u64, bytes_min: u64) -> Result<Meta, StoreError> {
        let page = self.read(at, META_BYTES, bytes_min)?;
        let flags = u16_at(&page, 10);
        let is_one =
            flags.is_some_and(|flags| flags & P_META != 0) && u32_at(&page, META_AT) == Some(MAGIC);
        if !is_one {
            return Err(self.corrupt("it does not begin as a file of LMDB does"));
        }
        if u32_at(&page, META_AT + 4) != Some(VERSION) {
            return Err(self.corrupt("its LMDB data version is unknown to this program"));
        }
        let number = |at| u64_at(&page, at).ok_or_else(|| self.corrupt("a meta page is too short"));
        let page_bytes = number(PAGE_BYTES_AT)? & u64::from(u32::MAX);
        let is_size =
            page_bytes.is_power_of_two() && (PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&page_bytes);
        if !is_size {
            return Err(self.corrupt("a meta page tells an impossible size of pages"));
        }
        Ok(Meta {
            number: at / page_bytes,
            page_bytes,
            free_root: number(FREE_ROOT_AT)?,
            last_page: number(LAST_PAGE_AT)?,
            transaction: number(TRANSACTION_AT)?,
        })
    }

    /// Whether each page from `pages`, which the file lacks, up to the last one is
    /// in the list of free pages: a tree whose values are a count and as many
    /// page numbers, 8 bytes each.
    fn lacks_only_free_pages(&self, meta: &Meta, pages: u64) -> Result<bool, StoreError> {
        let mut free = BTreeSet::new();
        let damaged = || self.corrupt(DAMAGED_LIST);
        let is_there = self.each_free(meta, pages, &mut |node| {
            let Some(list) = self.list(node, meta, pages, usize::MAX)? else {
                return Ok(false);
            };
            let count = u64_at(&list, 0).ok_or_else(damaged)?;
            let numbers = list.chunks_exact(8).skip(1).filter_map(|n| u64_at(n, 0));
            let lacking = pages..=meta.last_page;
            let numbers = numbers.take(usize::try_from(count).unwrap_or(usize::MAX));
            free.extend(numbers.filter(|number| lacking.contains(number)));
            Ok(true)
        })?;
        Ok(is_there && free.len() as u64 == meta.last_page.saturating_add(1) - pages)
    }

    /// Shows each node of the list of free pages to `visit`, of a file with so many pages. Ends if
    /// that gives `false`, and gives `false` then, or where the file lacks a page of the list.
    fn each_free(
        &self,
        meta: &Meta,
        pages: u64,
        visit: &mut dyn FnMut(&Node<'_>) -> Result<bool, StoreError>,
    ) -> Result<bool, StoreError> {
        let mut ahead = match meta.free_root {
            NO_PAGE => vec![],
            root => vec![root],
        };
        let mut read = 0;
        while let Some(number) = ahead.pop() {
            if number >= pages {
                return Ok(false);
            }
            // No page is in the tree twice, so more than all are a circle.
            read += 1;
            if read > pages {
                return Err(self.corrupt("its list of free pages runs in a circle"));
            }
            let page = self.page(number, meta)?;
            let flags = u16_at(&page, 10).unwrap_or(0);
            let damaged = || self.corrupt(DAMAGED_LIST);
            for node in nodes(&page).ok_or_else(damaged)? {
                let node = node.ok_or_else(damaged)?;
                if flags & P_BRANCH != 0 {
                    ahead.push(node.child());
                } else if flags & P_LEAF != 0 {
                    if !visit(&node)? {
                        return Ok(false);
                    }
                } else {
                    return Err(damaged());
                }
            }
        }
        Ok(true)
    }

    /// The value of a node of a leaf, up to so many bytes; `None` if the file lacks a part of it.
    fn list(
        &self,
        node: &Node<'_>,
        meta: &Meta,
        pages: u64,
        bytes_max: usize,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let damaged = || self.corrupt(DAMAGED_LIST);
        let bytes = node.value_bytes().min(bytes_max);
        if node.flags & F_BIGDATA == 0 {
            return Ok(Some(node.value.get(..bytes).ok_or_else(damaged)?.to_vec()));
        }
        let first = u64_at(node.value, 0).ok_or_else(damaged)?;
        let at = (first.checked_mul(meta.page_bytes))
            .and_then(|at| at.checked_add(PAGE_HEADER_BYTES as u64))
            .ok_or_else(damaged)?;
        match at.checked_add(bytes as u64) {
            Some(end) if end <= pages * meta.page_bytes => Ok(Some(self.read(at, bytes, end)?)),
            _ => Ok(None),
        }
    }

    fn page(&self, number: u64, meta: &Meta) -> Result<Vec<u8>, StoreError> {
        let at = number * meta.page_bytes;
        let bytes = usize::try_from(meta.page_bytes).expect("a page is at most 32 KiB");
        self.read(at, bytes, at + meta.page_bytes)
    }

    /// Reads what the whole file, of `bytes_min` or more, must have.
    fn read(&self, at: u64, bytes: usize, bytes_min: u64) -> Result<Vec<u8>, StoreError> {
        let mut read = vec![0; bytes];
        match self.file.read_exact_at(&mut read, at) {
            Ok(()) => Ok(read),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.cut_off(bytes_min.max(at + bytes as u64)))
            }
            Err(error) => Err(StoreError::file("read", self.path)(error)),
        }
    }

    fn cut_off(&self, bytes_min: u64) -> StoreError {
        let loss = Loss::CutOff {
            bytes: self.bytes,
            bytes_min,
        };
        StoreError::lost(self.path, loss)
    }

    fn corrupt(&self, why: &'static str) -> StoreError {
        StoreError::corrupt_file("data file", self.path, why)
    }
}

/// A key and what belongs to it, on a page of a tree.
struct Node<'p> {
    low: u64,
    flags: u16,
    key: &'p [u8],
    /// From the value on to the end of the page.
    value: &'p [u8],
}

impl Node<'_> {
    /// On a branch, the page below.
    fn child(&self) -> u64 {
        self.low | (u64::from(self.flags) << 32)
    }

    fn value_bytes(&self) -> usize {
        self.low as usize
    }
}

/// The nodes of a page, each `None` if it does not lie on it.
fn nodes(page: &[u8]) -> Option<impl Iterator<Item = Option<Node<'_>>>> {
    let places_end = usize::from(u16_at(page, 12)?);
    let places = page.get(PAGE_HEADER_BYTES..places_end)?;
    Some(places.chunks_exact(2).map(|place| {
        let node = page.get(usize::from(u16_at(place, 0)?)..)?;
        let key_bytes = usize::from(u16_at(node, 6)?);
        Some(Node {
            low: u64::from(u32_at(node, 0)?),
            flags: u16_at(node, 4)?,
            key: node.get(NODE_HEADER_BYTES..NODE_HEADER_BYTES + key_bytes)?,
            value: node.get(NODE_HEADER_BYTES + key_bytes..)?,
        })
    }))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::data_dir::{DataDir, OpenOptions};
    use crate::ids::{NodeId, ShardCount};
    use crate::layout::Tables;
    use crate::ledger::{LedgerConfig, open_env};

    fn new_file(dir: &Path) -> (heed::Env<heed::WithoutTls>, std::path::PathBuf) {
        let options = OpenOptions {
            shards_if_new: ShardCount::new(1).unwrap(),
            node_id_if_new: NodeId::from_bytes([4; 32]),
        };
        let data = DataDir::open(dir, &options).unwrap();
        let place = data.ledger_place(options.shards_if_new.shards().next().unwrap());
        let env = open_env(&place, &LedgerConfig::default()).unwrap();
        (env, place.data_file())
    }

    /// A file whose last pages are free and were never written, with so many free
    /// pages in the middle that their list needs pages of its own.
    fn short_file(dir: &Path) -> std::path::PathBuf {
        let (env, path) = new_file(dir);
        let table = Tables::open(&env).unwrap().unwrap().applications;
        for work in 0..4 {
            let mut txn = env.write_txn().unwrap();
            for key in 0..700_u16 {
                let key = key.to_be_bytes();
                match work {
                    0 => table.put(&mut txn, &key, &[7; 5000]).unwrap(),
                    1 => drop(table.delete(&mut txn, &key).unwrap()),
                    2 => table.put(&mut txn, &key, b"small").unwrap(),
                    _ => {}
                }
            }
            if work == 3 {
                table.put(&mut txn, b"large", &vec![7; 8 << 20]).unwrap();
                table.delete(&mut txn, b"large").unwrap();
            }
            txn.commit().unwrap();
        }
        let last = env.info().last_page_number as u64;
        let bytes = fs::metadata(&path).unwrap().len();
        assert!(bytes < last * 4096, "the file has all of its {last} pages");
        path
    }

    /// Else a disk is asked for one of very many pages at a time.
    #[test]
    fn of_a_large_file_all_pages_below_a_branch_are_asked_for_before_the_first_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let (env, path) = new_file(dir.path());
        let table = Tables::open(&env).unwrap().unwrap().applications;
        let mut txn = env.write_txn().unwrap();
        // Long ones, so that there are branches below the root.
        for key in 0..8_000_u64 {
            let key = format!("{:0200}", key * 7_919 % 8_000);
            table.put(&mut txn, key.as_bytes(), b"value").unwrap();
        }
        txn.commit().unwrap();
        drop(env);
        let (mut asked, mut roots) = (BTreeSet::new(), 0);
        let (mut in_a_row, mut read) = (0, 0);
        let walked = pages::walk(&path, pages::Extent::Branches, &mut |passed| match passed {
            pages::Passed::Ahead(first, pages) => {
                asked.extend(first..first + pages);
                in_a_row = in_a_row.max(pages);
            }
            pages::Passed::Page(page) => {
                read += 1;
                roots += u64::from(!asked.contains(&page));
            }
        });
        assert!(walked.unwrap().flaws.is_empty());
        let tables = u64::from(crate::layout::TABLES) + 2;
        assert!(
            roots <= tables,
            "{roots} pages of {tables} trees were not asked for"
        );
        assert!(read > roots + 20, "{read} pages were read");
        assert!(in_a_row > 0);
    }

    /// Counts that are damaged may be anything, and two of them more than a number holds.
    #[test]
    fn counts_of_free_pages_that_come_to_more_than_a_number_are_summed() {
        let dir = tempfile::tempdir().unwrap();
        let path = short_file(dir.path());
        assert!(free_before(&path, u64::MAX).unwrap() < 1 << 20);
        let mut lists = Vec::new();
        {
            let data = DataFile::open(&path).unwrap();
            let meta = data.newer_meta().unwrap();
            let pages = data.bytes / meta.page_bytes;
            let mut visit = |node: &Node<'_>| {
                lists.push(data.list(node, &meta, pages, usize::MAX)?.unwrap());
                Ok(true)
            };
            assert!(data.each_free(&meta, pages, &mut visit).unwrap());
        }
        assert!(lists.len() > 1);
        let mut bytes = fs::read(&path).unwrap();
        for list in lists {
            let places = (0..bytes.len() - list.len()).filter(|at| bytes[*at..].starts_with(&list));
            let places: Vec<usize> = places.collect();
            assert!(!places.is_empty());
            for at in places {
                bytes[at..at + 8].copy_from_slice(&u64::MAX.to_ne_bytes());
            }
        }
        fs::write(&path, bytes).unwrap();
        assert_eq!(free_before(&path, u64::MAX).unwrap(), u64::MAX);
    }

    /// Pages that nobody can use any more are no harm, and there may be very many of them.
    #[test]
    fn a_page_that_is_in_use_and_listed_as_free_is_told_behind_any_number_of_lost_ones() {
        let dir = tempfile::tempdir().unwrap();
        let (env, path) = new_file(dir.path());
        let table = Tables::open(&env).unwrap().unwrap().applications;
        for first_kept in [0, 200] {
            let mut txn = env.write_txn().unwrap();
            for key in 0..300_u16 {
                match key >= first_kept {
                    true => table.put(&mut txn, &key.to_be_bytes(), &[7; 5000]).unwrap(),
                    false => assert!(table.delete(&mut txn, &key.to_be_bytes()).unwrap()),
                }
            }
            txn.commit().unwrap();
        }
        drop(env);
        let (mut longest, mut free) = (Vec::new(), BTreeSet::new());
        let last = {
            let data = DataFile::open(&path).unwrap();
            let meta = data.newer_meta().unwrap();
            let pages = data.bytes / meta.page_bytes;
            let mut visit = |node: &Node<'_>| {
                let list = data.list(node, &meta, pages, usize::MAX)?.unwrap();
                let count = u64_at(&list, 0).unwrap() as usize;
                let numbers = list.chunks_exact(8).skip(1).take(count);
                free.extend(numbers.map(|number| u64_at(number, 0).unwrap()));
                if list.len() > longest.len() {
                    longest = list;
                }
                Ok(true)
            };
            assert!(data.each_free(&meta, pages, &mut visit).unwrap());
            meta.last_page
        };
        let is_used = |page: &u64| !free.contains(page);
        let used = (2..=last).rev().find(is_used).unwrap();
        let count = u64_at(&longest, 0).unwrap();
        let lost: u64 = 100;
        assert!(count > 2 * lost);
        let lost_last = 8 * (count - lost + 1) as usize;
        assert!(u64_at(&longest, lost_last).unwrap() < used);
        let mut damaged = longest.clone();
        damaged[..8].copy_from_slice(&(count - lost).to_ne_bytes());
        damaged[8..16].copy_from_slice(&used.to_ne_bytes());
        let mut bytes = fs::read(&path).unwrap();
        let places: Vec<usize> = (0..bytes.len() - longest.len())
            .filter(|at| bytes[*at..].starts_with(&longest))
            .collect();
        assert!(!places.is_empty());
        for at in places {
            bytes[at..at + damaged.len()].copy_from_slice(&damaged);
        }
        fs::write(&path, bytes).unwrap();
        let flaws = pages::walk(&path, pages::Extent::All, &mut |_| {})
            .unwrap()
            .flaws;
        let lethal: Vec<_> = flaws
            .iter()
            .filter(|flaw| flaw.harm == pages::Harm::Engine)
            .collect();
        assert_eq!(lethal.len(), 1, "{flaws:?}");
        assert_eq!(lethal[0].page, used);
    }

    /// Whatever is in the file, the answer is that it is whole, or why it is not.
    #[test]
    fn a_damaged_file_is_answered_and_never_panics() {
        let dir = tempfile::tempdir().unwrap();
        let path = short_file(dir.path());
        check(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        let damaged = dir.path().join("damaged");
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = |below: usize| {
            // xorshift: any spread will do
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 16) as usize % below
        };
        let (mut refused, mut taken) = (0, 0);
        fs::write(&damaged, &whole).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&damaged).unwrap();
        for round in 0..6000 {
            // The meta pages, or the head and the nodes of any page.
            let page = if round % 2 == 0 {
                next(2)
            } else {
                next(whole.len() / 4096)
            };
            let at = page * 4096 + next(160);
            file.write_all_at(&[next(256) as u8], at as u64).unwrap();
            match check(&damaged) {
                Ok(()) => taken += 1,
                Err(StoreError::Corrupt { .. } | StoreError::Lost { .. }) => refused += 1,
                Err(error) => panic!("byte {at}: {error}"),
            }
            if round % 3 == 2 {
                file.write_all_at(&whole, 0).unwrap();
            }
        }
        assert!(refused > 100 && taken > 100, "{refused} and {taken}");
    }
}
