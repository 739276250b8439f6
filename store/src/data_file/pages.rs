//! Every page of LMDB's data file, by plain reads. LMDB's pages have no checksums, and
//! a wrong offset or number on one of them sends LMDB anywhere, even out of its map. So
//! all trees are walked here before LMDB has the file, when a ledger is opened and when a data
//! directory is checked: each page has the form that LMDB gives it and lies in one tree or in the
//! list of free pages, keys are in order and below the branches that lead to them, what a
//! tree says of itself is what was found, and each record is the one that was written
//! under its key. So whatever bit of a page in use is another, it is found. Nothing is changed
//! here. Start at [`walk`].
//!
//! The layout is said in `data_file.rs`. Nodes fill a page from its end on, without
//! gaps, each on an even place.

use std::num::NonZeroU64;
use std::ops::Range;
use std::path::Path;

use rustix::fs::Advice;

use super::{
    DataFile, F_BIGDATA, Meta, NO_PAGE, NODE_HEADER_BYTES, P_BRANCH, P_LEAF, PAGE_HEADER_BYTES,
    u16_at, u32_at, u64_at,
};
use crate::error::StoreError;
use crate::record::{Bit, is_whole, odd_bit};

const P_OVERFLOW: u16 = 0x04;
const F_SUBDATA: u16 = 0x02;

/// `MDB_INTEGERKEY`: keys are numbers of the machine, as in the list of free pages.
const INTEGER_KEY: u16 = 0x08;

/// `MDB_db`: padding (4), flags (2), depth (2), then pages of branches, of leaves and of
/// large values, entries and root (8 each).
const DB_BYTES: usize = 48;
const FREE_DB_AT: usize = super::META_AT + 24;
const MAIN_DB_AT: usize = FREE_DB_AT + DB_BYTES;

/// `CURSOR_STACK`: LMDB goes no deeper.
const DEPTH_MAX: u16 = 32;

/// So many flaws are told, those that the engine must not meet before others; a file that has more
/// is no better known by all of them.
const FLAWS_MAX: usize = 64;

/// Of so many records the bit is told that is another.
const ODD_BITS_MAX: usize = 1024;

/// Bytes hashed to find such bits: about a second.
const WORK_MAX: u64 = 8 << 30;

/// The disk is asked for so much at a time before it is needed; it takes no more at once.
const AHEAD_BYTES: u64 = 128 << 10;

/// How much of a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Every page that is in use, and every record.
    All,
    /// What leads to the leaves of the tables, and the list of free pages.
    Branches,
}

/// What a walk does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    /// It asks the disk for so many pages from the first on, which it will need soon.
    Ahead(u64, u64),
    /// It reads this page.
    Page(u64),
}

/// What is wrong with a file.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    /// With its pages, the first ones.
    pub(crate) flaws: Vec<Flaw>,
    /// With records of which one bit is another.
    pub(crate) odd_bits: Vec<OddBit>,
    /// How many records are damaged beside these.
    pub(crate) records_damaged: u64,
}

/// Something that is not as LMDB writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    /// The number of the page, from 0.
    pub(crate) page: u64,
    pub(crate) why: &'static str,
    pub(crate) harm: Harm,
}

/// What a flaw leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    /// LMDB would read or write where it must not, or not find what is there.
    Engine,
    /// A page is never used again.
    Space,
}

/// A bit that is another than it was written, as the checksum of its record tells. In what
/// else is told it counts as put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OddBit {
    /// The page with the record's key.
    pub(crate) page: u64,
    /// The byte in the file, and the bit in it.
    pub(crate) byte: u64,
    pub(crate) mask: u8,
    pub(crate) hit: Hit,
}

/// What an odd bit is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hit {
    /// What lies under a key.
    Record,
    /// A key, by which LMDB searches; the page is in order with it, too.
    Key,
    /// The same of a page that is out of order unless such keys are put right.
    KeyInDisorder,
}

impl Hit {
    pub(crate) fn is_of_key(self) -> bool {
        self != Hit::Record
    }
}

impl Walked {
    /// Counts records as damaged of which only a key is to be put right, and leaves these keys as they are. Whether
    /// that can be: not if a page is out of order by it.
    pub(crate) fn leave_keys(&mut self) -> bool {
        let left = self.odd_bits.extract_if(.., |odd| odd.hit == Hit::Key);
        self.records_damaged += left.count() as u64;
        !self.odd_bits.iter().any(|odd| odd.hit.is_of_key())
    }
}

/// Reads the file at `path`, which [`check`](super::check) has found to be whole, and gives
/// what is wrong. `tell` hears of each page that is read. Takes a bit of memory for each page.
pub(crate) fn walk(
    path: &Path,
    extent: Extent,
    tell: &mut dyn FnMut(Passed),
) -> Result<Walked, StoreError> {
    let data = DataFile::open(path)?;
    let meta = data.newer_meta()?;
    if extent == Extent::All {
        for at in (0..data.bytes).step_by(AHEAD_BYTES as usize) {
            data.read_ahead(at, AHEAD_BYTES);
        }
    }
    let last = usize::try_from(meta.last_page).unwrap_or(usize::MAX);
    // A file has no more pages than LMDB's map can have, which `check` has compared.
    let words = last / 64 + 1;
    let mut walk = Walk {
        pages: data.bytes / meta.page_bytes,
        data: &data,
        meta: &meta,
        extent,
        used: vec![0; words],
        free: vec![0; words],
        found: Walked::default(),
        work_left: WORK_MAX,
        tables: Vec::new(),
        tell,
    };
    let (free, main) = (walk.db(FREE_DB_AT)?, walk.db(MAIN_DB_AT)?);
    walk.tree(&free, Tree::Free, INTEGER_KEY, meta.number)?;
    walk.tree(&main, Tree::Names, 0, meta.number)?;
    for (page, db) in std::mem::take(&mut walk.tables) {
        walk.tree(&db, Tree::Table, 0, page)?;
    }
    walk.compare_with_free();
    Ok(walk.found)
}

impl DataFile<'_> {
    /// Trees lead to and fro, and a disk is much faster in a row, or when it is asked for much at
    /// the same time.
    fn read_ahead(&self, at: u64, bytes: u64) {
        // It is a hint. Where the system does not take it, reading takes longer.
        let _ = rustix::fs::fadvise(&self.file, at, NonZeroU64::new(bytes), Advice::WillNeed);
    }
}

/// Which tree a page is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tree {
    /// Of the list of free pages.
    Free,
    /// Of the tables by their names.
    Names,
    /// Of a table.
    Table,
}

/// What is said of a tree, or found in it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Db {
    flags: u16,
    depth: u16,
    branches: u64,
    leaves: u64,
    large: u64,
    entries: u64,
    root: u64,
}

impl Db {
    fn read(bytes: &[u8]) -> Option<Db> {
        Some(Db {
            flags: u16_at(bytes, 4)?,
            depth: u16_at(bytes, 6)?,
            branches: u64_at(bytes, 8)?,
            leaves: u64_at(bytes, 16)?,
            large: u64_at(bytes, 24)?,
            entries: u64_at(bytes, 32)?,
            root: u64_at(bytes, 40)?,
        })
    }
}

struct Walk<'f> {
    data: &'f DataFile<'f>,
    meta: &'f Meta,
    /// That the file has.
    pages: u64,
    extent: Extent,
    used: Vec<u64>,
    free: Vec<u64>,
    found: Walked,
    /// Bytes that may still be hashed to put records right.
    work_left: u64,
    /// With the page that tells of them.
    tables: Vec<(u64, Db)>,
    tell: &'f mut dyn FnMut(Passed),
}

/// A node of a page.
struct Part {
    key: Range<usize>,
    /// From the value on.
    value_at: usize,
    low: u64,
    flags: u16,
}

impl Part {
    /// On a branch, the page below.
    fn child(&self) -> u64 {
        self.low | (u64::from(self.flags) << 32)
    }
}

/// Which keys may lie below a branch: from the first on, and before the second.
#[derive(Clone, Copy, Default)]
struct Bounds<'k> {
    from: Option<&'k [u8]>,
    before: Option<&'k [u8]>,
}

impl Walk<'_> {
    fn flaw(&mut self, page: u64, why: &'static str) {
        self.tell_flaw(page, why, Harm::Engine);
    }

    fn tell_flaw(&mut self, page: u64, why: &'static str, harm: Harm) {
        let flaw = Flaw { page, why, harm };
        let flaws = &mut self.found.flaws;
        if flaws.len() < FLAWS_MAX {
            flaws.push(flaw);
        } else if harm == Harm::Engine
            && let Some(harmless) = flaws.iter_mut().rfind(|it| it.harm == Harm::Space)
        {
            *harmless = flaw;
        }
    }

    /// What the meta page in force says of one of its two trees.
    fn db(&self, at: usize) -> Result<Db, StoreError> {
        let meta_at = self.meta.number * self.meta.page_bytes;
        let bytes = self.data.read(meta_at + at as u64, DB_BYTES, 0)?;
        Ok(Db::read(&bytes).expect("they are as many bytes as it has"))
    }

    fn tree(&mut self, db: &Db, tree: Tree, flags: u16, said_on: u64) -> Result<(), StoreError> {
        if db.flags != flags {
            self.flaw(said_on, "it tells impossible flags of a tree");
            return Ok(());
        }
        let mut found = Db {
            flags: db.flags,
            root: db.root,
            ..Db::default()
        };
        if db.root != NO_PAGE {
            found.depth = db.depth;
            if !(1..=DEPTH_MAX).contains(&db.depth) {
                self.flaw(said_on, "it tells an impossible depth of a tree");
                return Ok(());
            }
            self.page(db.root, 1, db.depth, tree, Bounds::default(), &mut found)?;
            if self.are_leaves_skipped(tree) && db.depth > 1 {
                (found.entries, found.large) = (db.entries, db.large);
            }
        }
        if found != *db {
            let why = "it tells of a tree with other pages or entries than there are";
            self.flaw(said_on, why);
        }
        Ok(())
    }

    fn are_leaves_skipped(&self, tree: Tree) -> bool {
        self.extent == Extent::Branches && tree == Tree::Table
    }

    /// A page of a tree, and all that is below it.
    fn page(
        &mut self,
        number: u64,
        level: u16,
        depth: u16,
        tree: Tree,
        bounds: Bounds<'_>,
        found: &mut Db,
    ) -> Result<(), StoreError> {
        if !self.claim(number, 1) {
            return Ok(());
        }
        if self.are_leaves_skipped(tree) && 1 < level && level == depth {
            found.leaves += 1;
            return Ok(());
        }
        (self.tell)(Passed::Page(number));
        let mut page = self.data.page(number, self.meta)?;
        let flags = u16_at(&page, 10).unwrap_or(0);
        let expected = if level == depth { P_LEAF } else { P_BRANCH };
        if u64_at(&page, 0) != Some(number) || flags != expected {
            self.flaw(number, "it is another page than the tree needs here");
            return Ok(());
        }
        let Some(parts) = parts(&page, flags) else {
            self.flaw(number, "its nodes do not lie as LMDB lays them");
            return Ok(());
        };
        // The first key of a branch says nothing; its place is below its parent's.
        let named = if flags == P_BRANCH {
            &parts[1..]
        } else {
            &parts
        };
        if flags == P_LEAF {
            found.leaves += 1;
            let odd_before = self.found.odd_bits.len();
            for part in &parts {
                found.entries += 1;
                self.leaf(number, &mut page, part, tree, found)?;
            }
            if self.found.odd_bits[odd_before..]
                .iter()
                .any(|odd| odd.hit.is_of_key())
            {
                self.weigh_keys(number, odd_before, &mut page, named, tree, bounds);
            }
        }
        if !are_in_order(&page, named, tree, bounds) {
            self.flaw(number, "its keys are not in order");
            return Ok(());
        }
        let key = |part: &Part| &page[part.key.clone()];
        if flags == P_BRANCH {
            found.branches += 1;
            // Of a whole file they were asked for before.
            let is_end = self.are_leaves_skipped(tree) && level + 1 == depth;
            if self.extent == Extent::Branches && !is_end {
                self.read_children_ahead(&parts);
            }
            for (at, part) in parts.iter().enumerate() {
                let below = Bounds {
                    from: if at == 0 {
                        bounds.from
                    } else {
                        Some(key(part))
                    },
                    before: parts.get(at + 1).map(key).or(bounds.before),
                };
                self.page(part.child(), level + 1, depth, tree, below, found)?;
            }
        }
        Ok(())
    }

    /// Asks for all pages below a branch before the first of them is read, those that lie side by
    /// side at once. One that is none is found out when it is its turn.
    fn read_children_ahead(&mut self, parts: &[Part]) {
        let mut children: Vec<u64> = parts.iter().map(Part::child).collect();
        children.retain(|child| *child < self.pages);
        children.sort_unstable();
        let pages_max = AHEAD_BYTES / self.meta.page_bytes;
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for child in children {
            match runs.last_mut() {
                Some((first, pages)) if *first + *pages == child && *pages < pages_max => {
                    *pages += 1
                }
                _ => runs.push((child, 1)),
            }
        }
        for (first, pages) in runs {
            (self.tell)(Passed::Ahead(first, pages));
            let page_bytes = self.meta.page_bytes;
            self.data.read_ahead(first * page_bytes, pages * page_bytes);
        }
    }

    /// One key of a leaf, and its value. If a bit of the key is another, it is put right in `page`.
    fn leaf(
        &mut self,
        number: u64,
        page: &mut [u8],
        part: &Part,
        tree: Tree,
        found: &mut Db,
    ) -> Result<(), StoreError> {
        let inline = part.value_at..page.len();
        let bytes = part.low;
        match part.flags {
            F_BIGDATA if tree != Tree::Names => {
                let first = u64_at(&page[inline], 0).unwrap_or(NO_PAGE);
                let Some(pages) = self.large(first, bytes)? else {
                    return Ok(());
                };
                found.large += pages;
                let at = first * self.meta.page_bytes + PAGE_HEADER_BYTES as u64;
                let value = self.data.read(at, bytes as usize, 0)?;
                match tree {
                    Tree::Free => self.list(number, &value),
                    _ if is_whole(&page[part.key.clone()], &value) => {}
                    _ => self.damaged(number, page, part, at, &value),
                }
            }
            F_SUBDATA if tree == Tree::Names && bytes == DB_BYTES as u64 => {
                let db = Db::read(&page[inline]).expect("its node lies on the page");
                self.tables.push((number, db));
            }
            0 if tree != Tree::Names => {
                let value = &page[inline][..bytes as usize];
                match tree {
                    Tree::Free => self.list(number, value),
                    _ if is_whole(&page[part.key.clone()], value) => {}
                    _ => {
                        let at = number * self.meta.page_bytes + part.value_at as u64;
                        let value = value.to_vec();
                        self.damaged(number, page, part, at, &value);
                    }
                }
            }
            _ => self.flaw(number, "a node on it has impossible flags"),
        }
        Ok(())
    }

    /// A record that lies at `at` and is not what was written under its key.
    fn damaged(&mut self, number: u64, page: &mut [u8], part: &Part, at: u64, value: &[u8]) {
        let key = &mut page[part.key.clone()];
        let odd = match self.found.odd_bits.len() < ODD_BITS_MAX {
            true => odd_bit(key, value, &mut self.work_left),
            false => None,
        };
        let (bit, at, hit) = match odd {
            None => {
                self.found.records_damaged += 1;
                return;
            }
            Some(Bit::Key(bit)) => {
                key[bit / 8] ^= 1 << (bit % 8);
                let at = number * self.meta.page_bytes + part.key.start as u64;
                (bit, at, Hit::Key)
            }
            Some(Bit::Record(bit)) => (bit, at, Hit::Record),
        };
        self.found.odd_bits.push(OddBit {
            page: number,
            byte: at + (bit / 8) as u64,
            mask: 1 << (bit % 8),
            hit,
        });
    }

    /// Looks what putting keys of a leaf right does to its order; `page` has them put right, and its odd bits
    /// are all from the `from`th on. If it is out of order by that, they are left as they lie in the file, and their
    /// records count as damaged: nobody found such a record under its key, so that another one may have been
    /// written under that since, and the engine has no place for both.
    fn weigh_keys(
        &mut self,
        number: u64,
        from: usize,
        page: &mut [u8],
        parts: &[Part],
        tree: Tree,
        bounds: Bounds<'_>,
    ) {
        let page_at = number * self.meta.page_bytes;
        let found = &mut self.found;
        let mut as_it_lies = page.to_vec();
        for odd in found.odd_bits[from..]
            .iter()
            .filter(|odd| odd.hit.is_of_key())
        {
            as_it_lies[(odd.byte - page_at) as usize] ^= odd.mask;
        }
        if !are_in_order(page, parts, tree, bounds) {
            page.copy_from_slice(&as_it_lies);
            let left = found.odd_bits.extract_if(from.., |odd| odd.hit.is_of_key());
            found.records_damaged += left.count() as u64;
        } else if !are_in_order(&as_it_lies, parts, tree, bounds) {
            let odd = found.odd_bits[from..].iter_mut();
            odd.filter(|odd| odd.hit.is_of_key())
                .for_each(|odd| odd.hit = Hit::KeyInDisorder);
        }
    }

    /// The pages of a large value; gives their number. They may be more than it needs: where a
    /// value takes the place of a larger one that was written by the same transaction, LMDB
    /// lets it have all of that one's.
    fn large(&mut self, first: u64, bytes: u64) -> Result<Option<u64>, StoreError> {
        let needed = (PAGE_HEADER_BYTES as u64 - 1 + bytes) / self.meta.page_bytes + 1;
        if !self.claim(first, needed) {
            return Ok(None);
        }
        let page = self
            .data
            .read(first * self.meta.page_bytes, PAGE_HEADER_BYTES, 0)?;
        let said = u32_at(&page, 12).map(u64::from);
        let said = said.filter(|said| *said >= needed);
        let is_one = u64_at(&page, 0) == Some(first) && u16_at(&page, 10) == Some(P_OVERFLOW);
        let Some(pages) = said.filter(|_| is_one) else {
            self.flaw(
                first,
                "it is another page than the large value that is needed here",
            );
            return Ok(None);
        };
        let has_rest = pages == needed || self.claim(first + needed, pages - needed);
        Ok(has_rest.then_some(pages))
    }

    /// A part of the list of free pages: a count, and as many numbers, the greatest first.
    fn list(&mut self, number: u64, list: &[u8]) {
        let numbers = list.chunks_exact(8).filter_map(|bytes| u64_at(bytes, 0));
        let numbers: Vec<u64> = numbers.collect();
        let is_list = list.len().is_multiple_of(8)
            && numbers
                .first()
                .is_some_and(|count| *count < numbers.len() as u64);
        if !is_list {
            return self.flaw(
                number,
                "a list of free pages on it has another length than it says",
            );
        }
        let freed = &numbers[1..=numbers[0] as usize];
        for page in freed {
            let is_page = (2..=self.meta.last_page).contains(page);
            if !is_page || !set(&mut self.free, *page) {
                return self.flaw(
                    number,
                    "a list of free pages on it names a page that cannot be free",
                );
            }
        }
    }

    /// Notes that a tree has these pages.
    fn claim(&mut self, first: u64, pages: u64) -> bool {
        let end = first.checked_add(pages);
        if first < 2 || end.is_none_or(|end| end > self.pages || end > self.meta.last_page + 1) {
            self.flaw(first, "a tree leads to it, but there is no such page");
            return false;
        }
        for number in first..first + pages {
            if !self.mark_used(number) {
                self.flaw(number, "two places lead to it");
                return false;
            }
        }
        true
    }

    fn mark_used(&mut self, number: u64) -> bool {
        set(&mut self.used, number)
    }

    /// Every page is in a tree or free.
    fn compare_with_free(&mut self) {
        if !self.found.flaws.is_empty() {
            // What lies below a flaw was not seen.
            return;
        }
        for number in 2..=self.meta.last_page {
            match (is_set(&self.used, number), is_set(&self.free, number)) {
                (true, true) => self.flaw(number, "it is in use, and listed as free"),
                (false, false) if self.extent == Extent::All => {
                    let why = "it is in no tree, and not listed as free";
                    self.tell_flaw(number, why, Harm::Space);
                }
                _ => {}
            }
        }
    }
}

/// The nodes of a page, which fill it from its end on; `None` if they do not.
fn parts(page: &[u8], flags: u16) -> Option<Vec<Part>> {
    let (lower, upper) = (
        usize::from(u16_at(page, 12)?),
        usize::from(u16_at(page, 14)?),
    );
    let is_page = lower.is_multiple_of(2) && lower <= upper && upper <= page.len();
    let places = page.get(PAGE_HEADER_BYTES..lower).filter(|_| is_page)?;
    let mut parts = Vec::with_capacity(places.len() / 2);
    let mut ends = Vec::with_capacity(places.len() / 2);
    for place in places.chunks_exact(2) {
        let at = usize::from(u16_at(place, 0)?);
        if at < upper || !at.is_multiple_of(2) {
            return None;
        }
        let node = page.get(at..)?;
        let key_bytes = usize::from(u16_at(node, 6)?);
        let key = at + NODE_HEADER_BYTES..at + NODE_HEADER_BYTES + key_bytes;
        let part = Part {
            value_at: key.end,
            low: u64::from(u32_at(node, 0)?),
            flags: u16_at(node, 4)?,
            key,
        };
        let value_bytes = match (flags, part.flags & F_BIGDATA) {
            (P_BRANCH, _) => 0,
            (_, 0) => part.low as usize,
            _ => size_of::<u64>(),
        };
        let end = part.value_at.checked_add(value_bytes)?.next_multiple_of(2);
        if end > page.len() {
            return None;
        }
        ends.push((at, end));
        parts.push(part);
    }
    // Laid end to end they leave no gap, so no place and no length is another.
    ends.sort_unstable();
    let begins = ends.iter().map(|(at, _)| *at).chain([page.len()]);
    let follows = [upper].into_iter().chain(ends.iter().map(|(_, end)| *end));
    (begins.eq(follows) && !parts.is_empty()).then_some(parts)
}

/// Whether keys on a page of a tree are in order, and within what leads to it.
fn are_in_order(page: &[u8], parts: &[Part], tree: Tree, bounds: Bounds<'_>) -> bool {
    let key = |part: &Part| &page[part.key.clone()];
    let after_start = parts.first().zip(bounds.from);
    let before_end = parts.last().zip(bounds.before);
    parts.is_sorted_by(|a, b| comes_before(tree, key(a), key(b)))
        && after_start.is_none_or(|(first, from)| !comes_before(tree, key(first), from))
        && before_end.is_none_or(|(last, end)| comes_before(tree, key(last), end))
}

/// Whether one key lies before another in a tree.
fn comes_before(tree: Tree, a: &[u8], b: &[u8]) -> bool {
    match tree {
        Tree::Free => match (u64_at(a, 0), u64_at(b, 0)) {
            (Some(a), Some(b)) => a < b,
            _ => false,
        },
        Tree::Names | Tree::Table => a < b,
    }
}

fn is_set(bits: &[u64], number: u64) -> bool {
    let word = usize::try_from(number / 64)
        .ok()
        .and_then(|at| bits.get(at));
    word.is_some_and(|word| word & (1 << (number % 64)) != 0)
}

/// Sets a bit; `false` if it was set or there is none.
fn set(bits: &mut [u64], number: u64) -> bool {
    let word = usize::try_from(number / 64).ok();
    let Some(word) = word.and_then(|at| bits.get_mut(at)) else {
        return false;
    };
    let bit = 1 << (number % 64);
    let was_set = *word & bit != 0;
    *word |= bit;
    !was_set
}
