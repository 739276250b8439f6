//! The write log: every system call by which a process changes files below a
//! directory, with its data, in order, and what the process says in between. What
//! a disk makes of them is in `disk.rs`. Start at [`WriteLog::record`].
//!
//! strace writes it down. A library in front of libc's functions would not see
//! the journal, since rustix makes system calls by itself; strace sees what the
//! kernel is asked for, whoever asks. A call that could change a file and is not
//! understood here ends the test, and `disk.rs` compares what the log leads to
//! with the files that the process has left.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use crate::disk::{NameOp, Names, Node};

/// Everything that can change a file or a directory, and what tells of which file
/// a descriptor is.
const CALLS: &str = "open,openat,openat2,creat,close,dup,dup2,dup3,read,readv,lseek,\
    write,writev,pwrite64,pwritev,pwritev2,truncate,ftruncate,fallocate,\
    fsync,fdatasync,sync,syncfs,sync_file_range,mmap,msync,\
    rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,mkdir,mkdirat,\
    sendfile,splice,copy_file_range,io_uring_setup,io_submit";

const O_CREAT: i64 = 0o100;
const O_TRUNC: i64 = 0o1000;
const O_APPEND: i64 = 0o2000;
/// Also a part of `O_SYNC`.
const O_DSYNC: i64 = 0o10000;
const O_TMPFILE: i64 = 0o20_000_000;
const AT_REMOVEDIR: i64 = 0x200;
const RWF_DSYNC: i64 = 0x2;
const RWF_SYNC: i64 = 0x4;
const FALLOC_FL_KEEP_SIZE: i64 = 1;
const PROT_WRITE: i64 = 2;
const MAP_SHARED: i64 = 1;

/// What one system call did.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Name(NameOp),
    /// A new file, empty. It has no name by this alone.
    File(Node),
    Write {
        node: Node,
        at: u64,
        data: Vec<u8>,
        /// On disk when it returns.
        through: bool,
    },
    /// The size becomes this.
    Resize {
        node: Node,
        bytes: u64,
    },
    /// The size becomes this at least.
    Extend {
        node: Node,
        bytes: u64,
    },
    /// What was done before operation `began` is on disk.
    Flush {
        node: Node,
        began: usize,
    },
    /// Written through a map from now on, which no log shows.
    Map(Node),
    /// A line of the process's output.
    Say(String),
}

pub(crate) struct WriteLog {
    pub(crate) ops: Vec<Op>,
    pub(crate) status: ExitStatus,
}

impl WriteLog {
    /// Runs `program` with `args` and notes what it does below `root`, where files
    /// have `names`.
    pub(crate) fn record(root: &Path, names: &Names, program: &Path, args: &[&str]) -> WriteLog {
        let trace = tempfile::NamedTempFile::new_in(crate::quick_place()).unwrap();
        let status = Command::new("strace")
            .args(["-f", "--seccomp-bpf", "-qq", "-X", "raw", "-xx"])
            .args(["-s", "999999999", "-e", &format!("trace={CALLS}"), "-o"])
            .arg(trace.path())
            .arg(program)
            .args(args)
            .stdout(Stdio::null())
            .status()
            .expect("strace is not installed: run `scripts/setup.sh test`");
        let root = root.canonicalize().unwrap();
        let mut reader = Reader {
            root: format!("{}/", root.display()),
            names: names.clone(),
            sizes: BTreeMap::new(),
            open: BTreeMap::new(),
            begun: BTreeMap::new(),
            ops: Vec::new(),
            unsaid: String::new(),
        };
        for line in std::fs::read_to_string(trace.path()).unwrap().lines() {
            reader.line(line);
        }
        WriteLog {
            ops: reader.ops,
            status,
        }
    }
}

/// What an open descriptor is.
#[derive(Clone)]
struct Open {
    node: Node,
    at: u64,
    flags: i64,
}

struct Reader {
    root: String,
    names: Names,
    /// Of files that this process has made or written, for `O_APPEND`.
    sizes: BTreeMap<Node, u64>,
    open: BTreeMap<i64, Open>,
    /// By thread: a call that has begun and not ended, and how many operations
    /// there were by then.
    begun: BTreeMap<String, (String, usize)>,
    ops: Vec<Op>,
    unsaid: String,
}

impl Reader {
    /// `PID  call(args) = result`, or one half of that if another thread came between.
    fn line(&mut self, line: &str) {
        let (thread, rest) = line.split_once(' ').expect("strace begins with a number");
        let rest = rest.trim_start();
        if rest.starts_with("+++") || rest.starts_with("---") {
            return;
        }
        if let Some(head) = rest.strip_suffix("<unfinished ...>") {
            let begun = (head.trim_end().to_owned(), self.ops.len());
            self.begun.insert(thread.to_owned(), begun);
        } else if let Some((_, tail)) = rest.split_once(" resumed>") {
            let (head, began) = self.begun.remove(thread).expect("it has begun");
            self.call(&format!("{head}{tail}"), began);
        } else {
            self.call(rest, self.ops.len());
        }
    }

    fn call(&mut self, text: &str, began: usize) {
        let shown = &text[..text.len().min(200)];
        let (name, rest) = text.split_once('(').expect("a call has arguments");
        let (args, result) = rest.rsplit_once(" = ").expect("a call has a result");
        let args = args.trim_end();
        let args = Args::split(args.strip_suffix(')').expect("arguments end"));
        let result = number(result.split(' ').next().unwrap_or_default());
        let Some(result) = result.filter(|result| *result >= 0) else {
            return; // it failed and did nothing, or the process ended within it
        };
        match name {
            "open" => self.open(&args.path(0), args.number(1), result),
            "creat" => panic!("a call that is not understood: {shown}"),
            "openat" => {
                let path = self.path_at(&args, 0);
                self.open(&path, args.number(2), result);
            }
            "close" => drop(self.open.remove(&args.number(0))),
            "dup" | "dup2" | "dup3" => {
                let is_ours = self.open.contains_key(&args.number(0));
                assert!(!is_ours, "two descriptors with one place: {shown}");
                self.open.remove(&result);
            }
            "lseek" => {
                if let Some(open) = self.open.get_mut(&args.number(0)) {
                    open.at = result as u64;
                }
            }
            "read" | "readv" => {
                if let Some(open) = self.open.get_mut(&args.number(0)) {
                    open.at += result as u64;
                }
            }
            "write" | "writev" => self.write(&args, None, false, result),
            "pwrite64" | "pwritev" => self.write(&args, Some(args.last()), false, result),
            "pwritev2" => {
                let at = args.number(args.count() - 2);
                assert!(at >= 0, "it goes on where the descriptor is: {shown}");
                let is_through = args.last() & (RWF_DSYNC | RWF_SYNC) != 0;
                self.write(&args, Some(at), is_through, result);
            }
            "ftruncate" => {
                if let Some(node) = self.node(&args) {
                    let bytes = args.number(1) as u64;
                    self.sizes.insert(node, bytes);
                    self.ops.push(Op::Resize { node, bytes });
                }
            }
            "fallocate" => {
                if let Some(node) = self.node(&args) {
                    let mode = args.number(1);
                    assert!(mode & !FALLOC_FL_KEEP_SIZE == 0, "not understood: {shown}");
                    let bytes = (args.number(2) + args.number(3)) as u64;
                    if mode == 0 {
                        self.grow(node, bytes);
                        self.ops.push(Op::Extend { node, bytes });
                    }
                }
            }
            "fsync" | "fdatasync" => {
                if let Some(node) = self.node(&args) {
                    self.ops.push(Op::Flush { node, began });
                }
            }
            "mmap" => {
                let is_write = args.number(2) & PROT_WRITE != 0 && args.number(3) & MAP_SHARED != 0;
                if let Some(open) = self.open.get(&args.number(4)).filter(|_| is_write) {
                    self.ops.push(Op::Map(open.node));
                }
            }
            "rename" => self.rename(&args.path(0), &args.path(1)),
            "renameat" | "renameat2" => {
                assert!(
                    name == "renameat" || args.last() == 0,
                    "not understood: {shown}"
                );
                let (from, to) = (self.path_at(&args, 0), self.path_at(&args, 2));
                self.rename(&from, &to);
            }
            "unlink" | "rmdir" => self.unlink(&args.path(0)),
            "unlinkat" => {
                assert!(args.last() & !AT_REMOVEDIR == 0, "not understood: {shown}");
                let path = self.path_at(&args, 0);
                self.unlink(&path);
            }
            "mkdir" => self.mkdir(&args.path(0)),
            "mkdirat" => {
                let path = self.path_at(&args, 0);
                self.mkdir(&path);
            }
            // On maps only, which are not followed.
            "msync" => {}
            _ => panic!("a call that is not understood: {shown}"),
        }
    }

    /// A path below the root, or one that is of no interest.
    fn path_at(&self, args: &Args<'_>, dir: usize) -> String {
        let path = args.path(dir + 1);
        match self.open.get(&args.number(dir)) {
            Some(open) if !path.starts_with('/') => {
                let dir = self.names.path_of(open.node).expect("it has a name");
                format!("{}{dir}/{path}", self.root)
            }
            _ => path,
        }
    }

    /// The directory and the last part of a path below the root.
    fn place<'p>(&self, path: &'p str) -> Option<(Node, &'p str)> {
        let path = path.strip_prefix(&self.root)?.trim_matches('/');
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let dir = self.names.find(dir);
        Some((dir.expect("a call that succeeded had a directory"), name))
    }

    fn open(&mut self, path: &str, flags: i64, fd: i64) {
        self.open.remove(&fd);
        if path.trim_end_matches('/') == self.root.trim_end_matches('/') {
            let root = Names::ROOT;
            self.open.insert(
                fd,
                Open {
                    node: root,
                    at: 0,
                    flags,
                },
            );
            return;
        }
        let Some((dir, name)) = self.place(path) else {
            return;
        };
        assert!(flags & O_TMPFILE == 0, "a file without a name below {path}");
        let node = match self.names.get(dir, name) {
            Some(node) => {
                if flags & O_TRUNC != 0 {
                    self.sizes.insert(node, 0);
                    self.ops.push(Op::Resize { node, bytes: 0 });
                }
                node
            }
            None => {
                assert!(flags & O_CREAT != 0, "{path} was opened, and never made");
                let node = self.names.new_node();
                self.ops.push(Op::File(node));
                self.name(NameOp::Link {
                    dir,
                    name: name.to_owned(),
                    node,
                    is_dir: false,
                });
                node
            }
        };
        self.open.insert(fd, Open { node, at: 0, flags });
    }

    fn name(&mut self, op: NameOp) {
        self.names.apply(&op);
        self.ops.push(Op::Name(op));
    }

    fn node(&self, args: &Args<'_>) -> Option<Node> {
        Some(self.open.get(&args.number(0))?.node)
    }

    fn grow(&mut self, node: Node, bytes: u64) {
        let size = self.sizes.entry(node).or_default();
        *size = bytes.max(*size);
    }

    fn write(&mut self, args: &Args<'_>, at: Option<i64>, is_through: bool, written: i64) {
        if args.number(0) == 1 {
            self.unsaid
                .push_str(&String::from_utf8(args.bytes(1)).unwrap());
            while let Some((line, rest)) = self.unsaid.split_once('\n') {
                self.ops.push(Op::Say(line.to_owned()));
                self.unsaid = rest.to_owned();
            }
            return;
        }
        let Some(open) = self.open.get(&args.number(0)).cloned() else {
            return;
        };
        let mut data = args.bytes(1);
        assert!(data.len() >= written as usize, "strace has cut the data");
        data.truncate(written as usize);
        let is_appended = open.flags & O_APPEND != 0;
        let at = match at {
            Some(at) => at as u64,
            None if is_appended => *self.sizes.get(&open.node).expect("its size is known"),
            None => open.at,
        };
        let end = at + data.len() as u64;
        if args.is_at_the_descriptor {
            self.open.get_mut(&args.number(0)).expect("as above").at = end;
        }
        self.grow(open.node, end);
        self.ops.push(Op::Write {
            node: open.node,
            at,
            data,
            through: is_through || open.flags & O_DSYNC != 0,
        });
    }

    fn rename(&mut self, from: &str, to: &str) {
        let (Some((dir, from)), Some((to_dir, to))) = (self.place(from), self.place(to)) else {
            return;
        };
        let node = self.names.get(dir, from).expect("it was there");
        let (from, to) = (from.to_owned(), to.to_owned());
        if dir != to_dir {
            // No flush of one directory says anything of the other.
            let is_dir = self.names.is_dir(node);
            self.name(NameOp::Link {
                dir: to_dir,
                name: to,
                node,
                is_dir,
            });
            self.name(NameOp::Unlink { dir, name: from });
            return;
        }
        self.name(NameOp::Rename {
            dir,
            from,
            to,
            node,
        });
    }

    fn unlink(&mut self, path: &str) {
        if let Some((dir, name)) = self.place(path) {
            let name = name.to_owned();
            self.name(NameOp::Unlink { dir, name });
        }
    }

    fn mkdir(&mut self, path: &str) {
        if let Some((dir, name)) = self.place(path) {
            let node = self.names.new_node();
            self.name(NameOp::Link {
                dir,
                name: name.to_owned(),
                node,
                is_dir: true,
            });
        }
    }
}

/// The arguments of a call as strace writes them: numbers, and data of which each
/// byte is `\x` and two digits.
struct Args<'l> {
    texts: Vec<&'l str>,
    is_at_the_descriptor: bool,
}

impl<'l> Args<'l> {
    fn split(text: &'l str) -> Args<'l> {
        let (mut texts, mut depth, mut begin, mut in_data) = (Vec::new(), 0, 0, false);
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                b'"' => in_data = !in_data,
                _ if in_data => {}
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth -= 1,
                b',' if depth == 0 => {
                    texts.push(text[begin..at].trim());
                    begin = at + 1;
                }
                _ => {}
            }
        }
        texts.push(text[begin..].trim());
        Args {
            // `write` has three, `writev` has three, and the others have a place as well.
            is_at_the_descriptor: texts.len() == 3,
            texts,
        }
    }

    fn count(&self) -> usize {
        self.texts.len()
    }

    fn number(&self, nth: usize) -> i64 {
        let text = self.texts[nth];
        number(text).unwrap_or_else(|| panic!("what is {text:?}?"))
    }

    fn last(&self) -> i64 {
        self.number(self.count() - 1)
    }

    fn path(&self, nth: usize) -> String {
        String::from_utf8(self.bytes(nth)).expect("a path of ours is text")
    }

    /// What lies between quotes, all of it if there are many.
    fn bytes(&self, nth: usize) -> Vec<u8> {
        let text = self.texts[nth];
        assert!(!text.contains("\"..."), "strace has cut the data");
        let digit = |digit: u8| (digit as char).to_digit(16).expect("a digit") as u8;
        let mut bytes = Vec::with_capacity(text.len() / 4);
        for data in text.split('"').skip(1).step_by(2) {
            for byte in data.as_bytes().chunks_exact(4) {
                bytes.push(digit(byte[2]) << 4 | digit(byte[3]));
            }
        }
        bytes
    }
}

fn number(text: &str) -> Option<i64> {
    if let Some(digits) = text.strip_prefix("0x") {
        // Addresses are larger than a number with a sign, and of no interest.
        return u64::from_str_radix(digits, 16).ok().map(|n| n as i64);
    }
    match text.strip_prefix('0') {
        Some(digits) if !digits.is_empty() => i64::from_str_radix(digits, 8).ok(),
        _ if text == "NULL" => Some(0),
        _ => text.parse().ok(),
    }
}
