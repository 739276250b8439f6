//! A disk behind a page cache: what it may hold when the power is cut. A flush
//! brings a file's writes to it, or a directory's names; until then each sector of
//! a file is there as any write since the last flush has left it, or as it was, and
//! each name was changed or not. Names need the flush of their directory, as POSIX
//! has it, although some file systems give more. Knows nothing of what is in the
//! files. Start at [`Disk::image`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::random::Random;
use crate::write_log::Op;

/// What a disk writes as a whole.
pub(crate) const SECTOR: usize = 512;

/// A file or directory, whatever its name.
pub(crate) type Node = u32;

#[derive(Clone, Debug)]
pub(crate) enum NameOp {
    Link {
        dir: Node,
        name: String,
        node: Node,
        is_dir: bool,
    },
    Unlink {
        dir: Node,
        name: String,
    },
    Rename {
        dir: Node,
        from: String,
        to: String,
        node: Node,
    },
}

impl NameOp {
    fn dir(&self) -> Node {
        match self {
            NameOp::Link { dir, .. } | NameOp::Unlink { dir, .. } | NameOp::Rename { dir, .. } => {
                *dir
            }
        }
    }
}

/// Directories and what is in them.
#[derive(Clone, Default)]
pub(crate) struct Names {
    dirs: BTreeMap<Node, BTreeMap<String, Node>>,
    next: Node,
}

impl Names {
    pub(crate) const ROOT: Node = 0;

    fn new() -> Names {
        Names {
            dirs: [(Names::ROOT, BTreeMap::new())].into(),
            next: Names::ROOT + 1,
        }
    }

    pub(crate) fn new_node(&mut self) -> Node {
        self.next += 1;
        self.next - 1
    }

    pub(crate) fn get(&self, dir: Node, name: &str) -> Option<Node> {
        self.dirs.get(&dir)?.get(name).copied()
    }

    /// What lies at a path below the root.
    pub(crate) fn find(&self, path: &str) -> Option<Node> {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        parts.try_fold(Names::ROOT, |dir, name| self.get(dir, name))
    }

    /// The path of a directory.
    pub(crate) fn path_of(&self, node: Node) -> Option<String> {
        if node == Names::ROOT {
            return Some(String::new());
        }
        self.dirs.iter().find_map(|(dir, names)| {
            let (name, _) = names.iter().find(|(_, it)| **it == node)?;
            Some(format!("{}/{name}", self.path_of(*dir)?))
        })
    }

    pub(crate) fn is_dir(&self, node: Node) -> bool {
        self.dirs.contains_key(&node)
    }

    pub(crate) fn apply(&mut self, op: &NameOp) {
        let names = self.dirs.entry(op.dir()).or_default();
        match op {
            NameOp::Link {
                name, node, is_dir, ..
            } => {
                names.insert(name.clone(), *node);
                if *is_dir {
                    self.dirs.entry(*node).or_default();
                }
                self.next = self.next.max(node + 1);
            }
            NameOp::Unlink { name, .. } => drop(names.remove(name)),
            NameOp::Rename { from, to, node, .. } => {
                if names.get(from) == Some(node) {
                    names.remove(from);
                }
                names.insert(to.clone(), *node);
            }
        }
    }
}

/// A sector as one write has left it.
struct Version {
    op: usize,
    /// Which of the sectors of that write it is, and of how many.
    nth: usize,
    of: usize,
    bytes: [u8; SECTOR],
}

#[derive(Default)]
struct File {
    /// As the process sees it.
    cache: Vec<u8>,
    disk: Vec<u8>,
    /// What came after `disk`, oldest first.
    versions: BTreeMap<usize, Vec<Version>>,
    sizes: Vec<(usize, u64)>,
    is_mapped: bool,
}

impl File {
    /// Notes that the cache's `bytes` were changed.
    fn touch(&mut self, op: usize, bytes: std::ops::Range<usize>) {
        let sectors = bytes.start / SECTOR..bytes.end.div_ceil(SECTOR);
        for (nth, sector) in sectors.clone().enumerate() {
            let mut bytes = [0; SECTOR];
            let from = (sector * SECTOR).min(self.cache.len());
            let cached = &self.cache[from..self.cache.len().min(from + SECTOR)];
            bytes[..cached.len()].copy_from_slice(cached);
            self.versions.entry(sector).or_default().push(Version {
                op,
                nth,
                of: sectors.len(),
                bytes,
            });
        }
    }

    fn resize(&mut self, op: usize, bytes: u64) {
        let before = self.cache.len();
        self.cache.resize(bytes as usize, 0);
        if self.cache.len() < before {
            self.touch(op, self.cache.len()..before);
        }
        if self.cache.len() != before {
            self.sizes.push((op, bytes));
        }
    }

    /// Brings what was changed before operation `began` to the disk: everything, or
    /// only some bytes.
    fn flush(&mut self, began: usize, only: Option<std::ops::Range<usize>>) {
        let sectors = match &only {
            Some(bytes) => bytes.start / SECTOR..bytes.end.div_ceil(SECTOR),
            None => 0..usize::MAX,
        };
        let mut bytes = self.disk.len();
        let disk = &mut self.disk;
        for (sector, versions) in self.versions.range_mut(sectors) {
            let flushed = versions.partition_point(|version| version.op < began);
            if let Some(version) = versions.drain(..flushed).next_back() {
                put_sector(disk, *sector, &version.bytes);
            }
        }
        self.versions.retain(|_, versions| !versions.is_empty());
        match only {
            None => {
                let flushed = self.sizes.partition_point(|(op, _)| *op < began);
                let size = self.sizes.drain(..flushed).next_back();
                bytes = size.map_or(bytes, |(_, size)| size as usize);
            }
            Some(only) => bytes = bytes.max(only.end),
        }
        self.disk.resize(bytes, 0);
    }

    fn image(&self, cut: &mut Cut) -> Vec<u8> {
        let mut image = self.disk.clone();
        for (sector, versions) in &self.versions {
            let kept = versions.iter().rev().find(|version| cut.keeps(version));
            if let Some(version) = kept {
                put_sector(&mut image, *sector, &version.bytes);
            }
        }
        let sizes = self.sizes.iter().rev();
        let mut sizes = sizes.filter(|(op, _)| cut.keeps_size(*op));
        let bytes = sizes.next().map(|(_, bytes)| *bytes as usize);
        image.resize(bytes.unwrap_or(self.disk.len()), 0);
        if self.is_mapped && cut.random.percent(30) {
            // Nobody knows what a map has left of it.
            image.fill_with(|| cut.random.next() as u8);
        }
        image
    }
}

/// The place grows with it; the size is settled behind.
fn put_sector(disk: &mut Vec<u8>, sector: usize, bytes: &[u8; SECTOR]) {
    let at = sector * SECTOR;
    if disk.len() < at + SECTOR {
        disk.resize(at + SECTOR, 0);
    }
    disk[at..at + SECTOR].copy_from_slice(bytes);
}

/// What is kept of one operation that was not flushed.
#[derive(Clone, Copy)]
enum Kept {
    All,
    Nothing,
    /// So many of its sectors.
    First(usize),
    /// Any of its sectors.
    Some,
}

/// Which of the unflushed operations came to the disk before the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CutKind {
    /// All of them.
    Behind,
    /// None of them.
    Before,
    /// The newest in part, and of those before it all or any.
    Torn,
    /// Any, in part or whole.
    Mixed,
}

/// A cut of the power. Asked for each operation, it gives the same answer again.
pub(crate) struct Cut {
    kind: CutKind,
    newest: usize,
    /// Of a hundred operations, how many are kept where that is left to chance.
    percent: usize,
    decided: BTreeMap<usize, Kept>,
    random: Random,
}

impl Cut {
    pub(crate) fn new(kind: CutKind, newest: usize, mut random: Random) -> Cut {
        let percent = [10, 50, 90, 100][random.below(4)];
        Cut {
            kind,
            newest,
            percent,
            decided: BTreeMap::new(),
            random,
        }
    }

    fn decide(&mut self, op: usize, sectors: usize) -> Kept {
        let (kind, random, percent) = (self.kind, &mut self.random, self.percent);
        let is_newest = op == self.newest;
        *self.decided.entry(op).or_insert_with(|| match kind {
            CutKind::Behind => Kept::All,
            CutKind::Before => Kept::Nothing,
            CutKind::Torn if is_newest && random.percent(60) => {
                Kept::First(random.below(sectors + 1))
            }
            CutKind::Torn if is_newest => Kept::Some,
            _ if !random.percent(percent) => Kept::Nothing,
            CutKind::Torn => Kept::All,
            CutKind::Mixed => match random.below(4) {
                0 => Kept::First(random.below(sectors + 1)),
                1 => Kept::Some,
                _ => Kept::All,
            },
        })
    }

    fn keeps(&mut self, version: &Version) -> bool {
        match self.decide(version.op, version.of) {
            Kept::All => true,
            Kept::Nothing => false,
            Kept::First(sectors) => version.nth < sectors,
            Kept::Some => self.random.percent(50),
        }
    }

    /// A size or a name comes as a whole.
    fn keeps_size(&mut self, op: usize) -> bool {
        match self.decide(op, 1) {
            Kept::All => true,
            Kept::Nothing => false,
            Kept::First(_) | Kept::Some => self.random.percent(50),
        }
    }
}

/// Files and directories by their path.
pub(crate) type Image = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// Writes an image into an empty directory.
pub(crate) fn write_image(image: &Image, dir: &Path) {
    for (path, content) in image {
        let path = dir.join(path);
        match content {
            None => std::fs::create_dir(path).unwrap(),
            Some(content) => std::fs::write(path, content).unwrap(),
        }
    }
}

/// Reads a directory, as an image.
pub(crate) fn read_image(dir: &Path) -> Image {
    let mut image = Image::new();
    let mut ahead = vec![dir.to_owned()];
    while let Some(next) = ahead.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let relative = path.strip_prefix(dir).unwrap().to_owned();
            match path.is_dir() {
                true => {
                    image.insert(relative, None);
                    ahead.push(path);
                }
                false => drop(image.insert(relative, Some(std::fs::read(path).unwrap()))),
            }
        }
    }
    image
}

pub(crate) struct Disk {
    /// As the process sees them.
    pub(crate) names: Names,
    names_on_disk: Names,
    names_unflushed: Vec<(usize, NameOp)>,
    files: BTreeMap<Node, File>,
    /// Whether flushes are believed in. A disk that has none shows whether the
    /// tests would notice.
    has_flushes: bool,
}

impl Disk {
    /// A disk with these files, all of them flushed.
    pub(crate) fn with(image: &Image) -> Disk {
        let mut names = Names::new();
        let mut files = BTreeMap::new();
        for (path, content) in image {
            let dir = path.parent().and_then(|dir| names.find(dir.to_str()?));
            let name = path.file_name().and_then(|name| name.to_str());
            let node = names.new_node();
            names.apply(&NameOp::Link {
                dir: dir.expect("a directory comes before what is in it"),
                name: name.expect("a file of ours has a name").to_owned(),
                node,
                is_dir: content.is_none(),
            });
            if let Some(content) = content {
                let file = File {
                    cache: content.clone(),
                    disk: content.clone(),
                    ..File::default()
                };
                files.insert(node, file);
            }
        }
        Disk {
            names_on_disk: names.clone(),
            names,
            names_unflushed: Vec::new(),
            files,
            has_flushes: true,
        }
    }

    pub(crate) fn without_flushes(self) -> Disk {
        Disk {
            has_flushes: false,
            ..self
        }
    }

    /// Operation number `nth` has begun: from now on it may have come to the disk.
    pub(crate) fn begin(&mut self, nth: usize, op: &Op) {
        match op {
            Op::Name(op) => {
                self.names.apply(op);
                self.names_unflushed.push((nth, op.clone()));
            }
            Op::File(node) => drop(self.files.insert(*node, File::default())),
            Op::Write { node, at, data, .. } => {
                let file = self.file(*node);
                let bytes = *at as usize..*at as usize + data.len();
                if file.cache.len() < bytes.end {
                    file.resize(nth, bytes.end as u64);
                }
                file.cache[bytes.clone()].copy_from_slice(data);
                file.touch(nth, bytes);
            }
            Op::Resize { node, bytes } => self.file(*node).resize(nth, *bytes),
            Op::Extend { node, bytes } => {
                let file = self.file(*node);
                if (file.cache.len() as u64) < *bytes {
                    file.resize(nth, *bytes);
                }
            }
            Op::Map(node) => self.file(*node).is_mapped = true,
            Op::Flush { .. } | Op::Say(_) => {}
        }
    }

    /// It has returned: what it promised to be on disk is there.
    pub(crate) fn end(&mut self, nth: usize, op: &Op) {
        match op {
            _ if !self.has_flushes => {}
            Op::Flush { node, began } if self.files.contains_key(node) => {
                self.file(*node).flush(*began, None);
            }
            Op::Flush { node, began } => {
                let names_on_disk = &mut self.names_on_disk;
                self.names_unflushed.retain(|(at, op)| {
                    let is_flushed = op.dir() == *node && at < began;
                    if is_flushed {
                        names_on_disk.apply(op);
                    }
                    !is_flushed
                });
            }
            Op::Write {
                node,
                at,
                data,
                through: true,
            } => {
                let bytes = *at as usize..*at as usize + data.len();
                self.file(*node).flush(nth + 1, Some(bytes));
            }
            _ => {}
        }
    }

    fn file(&mut self, node: Node) -> &mut File {
        self.files.get_mut(&node).expect("the log has made it")
    }

    /// What the cut leaves.
    pub(crate) fn image(&self, cut: &mut Cut) -> Image {
        let mut names = self.names_on_disk.clone();
        // A file system with a journal keeps names in order; others may not.
        let is_in_order = cut.random.percent(50);
        for (at, op) in &self.names_unflushed {
            if cut.keeps_size(*at) {
                names.apply(op);
            } else if is_in_order {
                break;
            }
        }
        let mut image = Image::new();
        self.collect(&names, &mut |path, file| {
            image.insert(path, file.map(|file| file.image(cut)));
        });
        image
    }

    /// The first file that is not as the process has left it, where the log would
    /// have shown it.
    pub(crate) fn differs_from(&self, left: &Image) -> Option<PathBuf> {
        let mut seen = BTreeMap::new();
        self.collect(&self.names, &mut |path, file| {
            seen.insert(path, file);
        });
        let is_as_left = |path: &PathBuf| match (left.get(path), seen.get(path)) {
            (Some(None), Some(None)) => true,
            (Some(Some(left)), Some(Some(file))) => file.is_mapped || *left == file.cache,
            _ => false,
        };
        let mut paths = left.keys().chain(seen.keys());
        paths.find(|path| !is_as_left(path)).cloned()
    }

    fn collect<'d>(&'d self, names: &Names, visit: &mut dyn FnMut(PathBuf, Option<&'d File>)) {
        let mut ahead = vec![(Names::ROOT, PathBuf::new())];
        while let Some((dir, path)) = ahead.pop() {
            for (name, node) in &names.dirs[&dir] {
                let path = path.join(name);
                let file = self.files.get(node);
                if file.is_none() {
                    ahead.push((*node, path.clone()));
                }
                visit(path, file);
            }
        }
    }
}
