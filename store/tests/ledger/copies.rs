//! Contexts that leave their ledger as files and come into others: everything of them
//! comes along, and whatever a file says that is not so is refused without a trace.

use std::io::{self, Cursor, Read};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use corelet_store::{
    Arrival, BackupSource, Change, ContextId, ExportError, ExportScope, Hlc, ImportError, Ledger,
    Snapshot, Space, StoreError, export_context, import_context, verify, write_backup,
};

use crate::fixtures::open;
use crate::{Bench, id, set, words};

/// Everything that can be read of a context.
#[derive(Debug, PartialEq)]
pub(crate) struct Content {
    head: String,
    entries: words::Content,
    events: Vec<String>,
    deltas: Vec<Vec<u8>>,
}

pub(crate) fn content(snapshot: &Snapshot, context: ContextId, scope: ExportScope) -> Content {
    let record = snapshot.context(&context).unwrap().unwrap();
    let slot = record.slot;
    let head = snapshot.head(slot).unwrap();
    let is_asked = |space: &Space| scope.private || space.is_replicated();
    let spaces: Vec<Space> = Space::ALL.into_iter().filter(is_asked).collect();
    let entries = words::content(snapshot, slot, &spaces);
    let mut events = Vec::new();
    snapshot
        .events(slot, 0, usize::MAX, &mut |event| {
            // Their numbers are given anew where they come in.
            let number = event.sequence - head.events_first;
            events.push(format!(
                "{number} {} {:?} {} {:?}",
                event.delta, event.hlc, event.kind, event.payload
            ));
            ControlFlow::Continue(())
        })
        .unwrap();
    let mut deltas = Vec::new();
    snapshot
        .deltas(
            slot,
            if scope.log { usize::MAX } else { 0 },
            &mut |_, delta| {
                deltas.push(delta.canonical().to_vec());
                ControlFlow::Continue(())
            },
        )
        .unwrap();
    let facts = (record.name, record.application, record.created);
    let counts = (head.version, head.entries, head.replicated, head.hlc);
    let bytes = scope.private.then_some(head.bytes);
    let rest = (head.events_last % 1024, head.is_shared);
    Content {
        head: format!(
            "{facts:?} {} {counts:?} {bytes:?} {rest:?} {:?}",
            head.root, head.deltas
        ),
        entries,
        events,
        deltas,
    }
}

pub(crate) fn export(ledger: &Ledger, context: ContextId, scope: ExportScope) -> Vec<u8> {
    let mut file = Vec::new();
    export_context(&ledger.snapshot().unwrap(), &context, scope, &mut file).unwrap();
    file
}

/// A ledger in which other contexts live, of other authors.
pub(crate) fn other() -> Bench {
    let mut bench = Bench::new();
    bench.now = 1 << 40;
    let slot = bench.create(200);
    let call = bench.call(200, slot, vec![set("a", "b")]);
    bench.commit(vec![call]);
    bench
}

pub(crate) const WITHOUT_PRIVATE: ExportScope = ExportScope {
    private: false,
    log: true,
};
pub(crate) const WITHOUT_LOG: ExportScope = ExportScope {
    private: true,
    log: false,
};

#[test]
fn everything_of_a_context_comes_along_and_it_goes_on_there() {
    let dir = tempfile::tempdir().unwrap();
    let source = open(dir.path(), "format-4");
    for scope in [ExportScope::ALL, WITHOUT_PRIVATE, WITHOUT_LOG] {
        let mut target = other();
        for n in [1, 2, 3, 5, 6] {
            let file = export(&source, id(n), scope);
            let copied = import_context(
                target.ledger(),
                Cursor::new(file.clone()),
                Arrival::trusting(Hlc::ZERO),
            )
            .unwrap();
            let (here, there) = (
                source.snapshot().unwrap(),
                target.ledger().snapshot().unwrap(),
            );
            assert_eq!(
                content(&here, id(n), scope),
                content(&there, id(n), scope),
                "context {n}, {scope:?}"
            );
            let slot = there.context(&id(n)).unwrap().unwrap().slot;
            assert_eq!(copied.root, there.head(slot).unwrap().root);
            target.verify();
            // It is a context like any other.
            let call = target.call(n, slot, vec![set("after", "the copy")]);
            target.commit(vec![call]);
            assert_eq!(target.get(slot, b"after").unwrap(), b"the copy");
        }
        target.reopen();
        target.verify();
        let again = export(&source, id(1), scope);
        let error = import_context(
            target.ledger(),
            Cursor::new(again),
            Arrival::trusting(Hlc::ZERO),
        )
        .unwrap_err();
        assert!(matches!(error, ImportError::Exists { .. }), "{error}");
        target.verify();
    }
}

/// The ledger holds what it held before, and nothing beside it.
#[track_caller]
fn nothing_is_left(bench: &Bench, before: &corelet_store::LedgerStats) {
    let now = bench.ledger().stats().unwrap();
    let counts = |stats: &corelet_store::LedgerStats| {
        (
            stats.contexts,
            stats.entries,
            stats.edits,
            stats.deltas,
            stats.events,
            stats.graves,
        )
    };
    assert_eq!(counts(&now), counts(before));
}

/// The rows of a file, in front of which is the front, and behind which the end.
pub(crate) fn rows(file: &[u8]) -> Vec<u8> {
    let (mut at, mut rows) = (8, Vec::new());
    loop {
        let length = u32::from_le_bytes(*file[at..].first_chunk().unwrap()) as usize;
        if file[at + 4] == 2 {
            return rows;
        }
        rows.extend_from_slice(&file[at + 5..at + 5 + length]);
        at += 5 + length + 32;
    }
}

/// A file that is as its writer has written it, whatever the rows say.
pub(crate) fn framed(rows: &[u8]) -> Vec<u8> {
    let mut file = b"CLX1\x02\x00\x01\x00".to_vec();
    let mut chain = *blake3::hash(&file).as_bytes();
    for (kind, content) in [(1, rows), (2, &[][..])] {
        let mut chunk = (content.len() as u32).to_le_bytes().to_vec();
        chunk.push(kind);
        chunk.extend_from_slice(content);
        chain = *blake3::keyed_hash(&chain, &chunk).as_bytes();
        file.extend_from_slice(&chunk);
        file.extend_from_slice(&chain);
    }
    file
}

#[test]
fn a_file_with_any_byte_changed_or_cut_off_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let source = open(dir.path(), "format-4");
    let file = export(&source, id(6), ExportScope::ALL);
    assert_eq!(framed(&rows(&file)), file, "this is how files are framed");
    let target = other();
    let before = target.ledger().stats().unwrap();
    for at in 0..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 1 << (at % 8);
        import_context(
            target.ledger(),
            Cursor::new(changed),
            Arrival::trusting(Hlc::ZERO),
        )
        .unwrap_err();
        import_context(
            target.ledger(),
            Cursor::new(file[..at].to_vec()),
            Arrival::trusting(Hlc::ZERO),
        )
        .unwrap_err();
    }
    nothing_is_left(&target, &before);
    let longer = [&file[..], b"x"].concat();
    import_context(
        target.ledger(),
        Cursor::new(longer),
        Arrival::trusting(Hlc::ZERO),
    )
    .unwrap_err();
    nothing_is_left(&target, &before);
    import_context(
        target.ledger(),
        Cursor::new(file.clone()),
        Arrival::trusting(Hlc::ZERO),
    )
    .unwrap();
    target.verify();
}

/// Somebody has written a file by our rules, with something else in it: it is refused, or
/// what it says agrees with itself.
#[test]
fn a_file_that_lies_is_refused_or_says_something_that_could_be() {
    let dir = tempfile::tempdir().unwrap();
    let source = open(dir.path(), "format-4");
    let (mut refused, mut taken) = (0, 0);
    for n in [5, 6] {
        let rows = rows(&export(&source, id(n), ExportScope::ALL));
        let target = other();
        let before = target.ledger().stats().unwrap();
        for at in (0..rows.len()).step_by(3) {
            let mut lie = rows.clone();
            lie[at] ^= 1 << (at % 8);
            match import_context(
                target.ledger(),
                Cursor::new(framed(&lie)),
                Arrival::trusting(Hlc::ZERO),
            ) {
                Err(_) => refused += 1,
                Ok(copied) => {
                    taken += 1;
                    target.verify();
                    write_to(&target, copied.id);
                    target.verify();
                    let delete = corelet_store::Change::DeleteContext(copied.id);
                    target.commit(vec![delete]);
                    while target.ledger().sweep(1000).unwrap().is_more {}
                }
            }
            nothing_is_left(&target, &before);
        }
        for at in (0..rows.len()).step_by(7) {
            import_context(
                target.ledger(),
                Cursor::new(framed(&rows[..at])),
                Arrival::trusting(Hlc::ZERO),
            )
            .unwrap_err();
        }
        nothing_is_left(&target, &before);
    }
    println!("{refused} lies were refused, {taken} could be");
    assert!(refused > 10 * taken, "{refused} and {taken}");
}

/// Whatever a ledger has taken in is a context like any other: a call of it is committed or
/// refused.
fn write_to(bench: &Bench, context: ContextId) {
    let snapshot = bench.ledger().snapshot().unwrap();
    let slot = snapshot.context(&context).unwrap().unwrap().slot;
    let head = snapshot.head(slot).unwrap();
    let author = corelet_store::NodeId::from_bytes([0xaa; 32]);
    let call = corelet_store::CallEffects {
        slot,
        ops: vec![set("after", "the lie")],
        ..corelet_store::CallEffects::new(context, author, Hlc::from_bits(head.hlc.bits() + 1))
    };
    drop(snapshot);
    let committed = bench.ledger().commit(vec![Change::Call(call)]).unwrap();
    assert!(committed[0].is_ok(), "{:?}", committed[0]);
    bench.ledger().writer().checkpoint().unwrap();
}

/// The first byte of a value, which its digest and so the root covers.
#[test]
fn a_value_that_is_not_the_one_of_the_root_is_told() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let call = bench.call(1, slot, vec![set("k", "a needle in a haystack")]);
    bench.commit(vec![call]);
    let mut lie = rows(&export(bench.ledger(), id(1), WITHOUT_LOG));
    let at = lie
        .windows(8)
        .position(|bytes| bytes == b"a needle")
        .unwrap();
    lie[at] = b'A';
    let error = import_context(
        other().ledger(),
        Cursor::new(framed(&lie)),
        Arrival::trusting(Hlc::ZERO),
    )
    .unwrap_err();
    assert!(
        matches!(error, ImportError::Disagrees { context, .. } if context == id(1)),
        "{error}"
    );
}

/// The other side goes away in the middle.
#[test]
fn an_input_that_fails_leaves_nothing_of_what_came() {
    struct Failing(Cursor<Vec<u8>>);
    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(io::Error::other("gone")),
                read => Ok(read),
            }
        }
    }
    let file = several_chunks();
    let mut target = other();
    let before = target.ledger().stats().unwrap();
    for part in 1..8 {
        let part = Failing(Cursor::new(file[..file.len() * part / 8].to_vec()));
        let error =
            import_context(target.ledger(), part, Arrival::trusting(Hlc::ZERO)).unwrap_err();
        assert!(matches!(error, ImportError::Read { .. }), "{error}");
    }
    nothing_is_left(&target, &before);
    target.reopen();
    target.verify();
}

/// A context whose copy has some two megabytes, in several chunks.
fn several_chunks() -> Vec<u8> {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    for part in 0..40 {
        let ops = (0..50).map(|key| set(format!("{part}-{key}"), vec![7; 1000]));
        let call = bench.call(1, slot, ops.collect());
        bench.commit(vec![call]);
    }
    export(bench.ledger(), id(1), WITHOUT_LOG)
}

/// A pipe that nobody writes to any more, and nobody closes.
struct Stalled {
    given: Cursor<Vec<u8>>,
    never: Receiver<()>,
}

impl Read for Stalled {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.given.read(buffer)? {
            0 => {
                let _ = self.never.recv();
                Ok(0)
            }
            read => Ok(read),
        }
    }
}

/// Whoever reads it waits for ever, and whoever takes in what came is told of what is wrong.
#[test]
fn a_pipe_that_stalls_does_not_hold_up_an_error() {
    let file = several_chunks();
    let end = file.len() - 32;
    let (_open, never) = channel();
    let given = Cursor::new(file[..end].to_vec());
    let mut exists = other();
    import_context(
        exists.ledger(),
        Cursor::new(file.clone()),
        Arrival::trusting(Hlc::ZERO),
    )
    .unwrap();
    let error = import_context(
        exists.ledger(),
        Stalled { given, never },
        Arrival::trusting(Hlc::ZERO),
    )
    .unwrap_err();
    assert!(matches!(error, ImportError::Exists { .. }), "{error}");
    exists.reopen();
    exists.verify();

    let mut lie = rows(&file);
    lie[0] = 255;
    let mut given = framed(&lie);
    given.truncate(given.len() - 32);
    let (_open, never) = channel();
    let given = Cursor::new(given);
    let lied = import_context(
        other().ledger(),
        Stalled { given, never },
        Arrival::trusting(Hlc::ZERO),
    )
    .unwrap_err();
    assert!(matches!(lied, ImportError::Malformed { .. }), "{lied}");

    let mut full = Bench::with_map(1 << 20);
    let before = full.ledger().stats().unwrap();
    let (_open, never) = channel();
    let given = Cursor::new(file[..end].to_vec());
    let error = import_context(
        full.ledger(),
        Stalled { given, never },
        Arrival::trusting(Hlc::ZERO),
    )
    .unwrap_err();
    let is_full = matches!(error, ImportError::Store(StoreError::MapFull { .. }));
    assert!(is_full, "{error}");
    nothing_is_left(&full, &before);
    full.reopen();
    full.verify();
}

/// It is read on another thread, which nobody waits for.
#[test]
fn a_reader_that_panics_is_an_error_and_leaves_nothing() {
    struct Panicking(Cursor<Vec<u8>>);
    impl Read for Panicking {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => panic!("the reader of a test"),
                read => Ok(read),
            }
        }
    }
    let file = several_chunks();
    let half = Panicking(Cursor::new(file[..file.len() / 2].to_vec()));
    let mut target = other();
    let before = target.ledger().stats().unwrap();
    let error = import_context(target.ledger(), half, Arrival::trusting(Hlc::ZERO)).unwrap_err();
    let is_told = matches!(&error, ImportError::ReaderPanicked { at } if *at > 1 << 18);
    assert!(is_told, "{error}");
    nothing_is_left(&target, &before);
    target.reopen();
    target.verify();
}

/// The clock of the node would be behind it for good, and all that is written then.
#[test]
fn a_copy_from_the_future_is_refused_and_leaves_nothing() {
    let mut source = Bench::new();
    source.now = 1 << 40;
    let slot = source.create(1);
    let call = source.call(1, slot, vec![set("key", "value")]);
    source.commit(vec![call]);
    source.ledger().writer().checkpoint().unwrap();
    let snapshot = source.ledger().snapshot().unwrap();
    let newest = snapshot.head(slot).unwrap().hlc;
    let mut file = Vec::new();
    export_context(&snapshot, &id(1), ExportScope::ALL, &mut file).unwrap();
    let target = Bench::new();
    let before = target.ledger().stats().unwrap();
    let last = target.ledger().last_hlc();
    let a_minute_before = newest.micros() - 60_000_000;
    let at = |micros| Arrival::at(Hlc::from_micros(micros));
    let early = at(a_minute_before - 1);
    let refused = import_context(target.ledger(), Cursor::new(file.clone()), early);
    assert!(
        matches!(refused, Err(ImportError::FromTheFuture { stamp, .. }) if stamp == newest),
        "{refused:?}"
    );
    nothing_is_left(&target, &before);
    assert_eq!(target.ledger().last_hlc(), last);
    let soon = at(a_minute_before + 1);
    import_context(target.ledger(), Cursor::new(file.clone()), soon).unwrap();
    // It has to be one's own to be believed whatever it says.
    let other = Bench::new();
    let trusting = Arrival::trusting(Hlc::from_micros(1));
    import_context(other.ledger(), Cursor::new(file), trusting).unwrap();
    other.verify();
    target.verify();
}

/// Nobody could restore what it would be in.
#[test]
fn a_backup_with_another_component_than_the_one_installed_is_none() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    let component = dir.path().join("component");
    let id = corelet_store::ApplicationId::from_bytes(*blake3::hash(b"right").as_bytes());
    let record = corelet_store::ApplicationRecord {
        id,
        name: "app".to_owned(),
        version: "1".to_owned(),
        size_bytes: 5,
        installed: Hlc::from_micros(1),
        description: String::new(),
        reuse: corelet_store::Reuse::default(),
    };
    let put = Change::PutApplication(record);
    bench.ledger().writer().commit_shown(vec![put]).unwrap();
    let snapshots = [bench.ledger().snapshot().unwrap()];
    let source = BackupSource {
        node: corelet_store::NodeId::from_bytes([4; 32]),
        snapshots: &snapshots,
        component: &|_| component.clone(),
        blobs: None,
    };
    for (content, is_right) in [("right", true), ("wrong", false)] {
        std::fs::write(&component, content).unwrap();
        let written = write_backup(&source, Vec::new(), &mut |_| {});
        match written {
            Ok(counts) => assert!(is_right && counts.applications == 1),
            Err(ExportError::WrongComponent { path }) => {
                assert!(!is_right && path == component);
            }
            Err(other) => panic!("{other}"),
        }
    }
}

/// The file that the first program to write exports has written of a context of the
/// fixture. It is read for ever.
#[test]
fn a_file_of_the_first_version_is_taken_in() {
    let dir = tempfile::tempdir().unwrap();
    let source = open(dir.path(), "format-4");
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/context-5.clx1");
    let target = other();
    import_context(
        target.ledger(),
        Cursor::new(std::fs::read(kept).unwrap()),
        Arrival::trusting(Hlc::ZERO),
    )
    .unwrap();
    let (here, there) = (
        source.snapshot().unwrap(),
        target.ledger().snapshot().unwrap(),
    );
    assert_eq!(
        content(&here, id(5), ExportScope::ALL),
        content(&there, id(5), ExportScope::ALL)
    );
    verify(&there).unwrap();
}
