//! Copies that say what is not so, by way of the rows: somebody has written them by our rules.
//! They are refused, and nothing of them is there.

use std::cell::Cell;
use std::io::Cursor;
use std::path::PathBuf;

use bytes::Bytes;

use super::inspect::Inspector;
use super::source::RowSink;
use super::*;
use crate::answer::{AnswerKey, KeyedAnswer, RequestDigest, Said};
use crate::change::{Birth, CallEffects, Change, NewContext, Op, Write};
use crate::data_dir::{DataDir, Lock, OpenOptions};
use crate::delta::BirthsView;
use crate::entry::{EntryKind, Space};
use crate::fixture::{id, scrub_twice, two};
use crate::ids::{ContextSlot, NodeId, ShardCount, ShardId};
use crate::layout::TABLE_NAMES;
use crate::ledger::LedgerConfig;
use crate::seal::Sealer;
use crate::seal::tests::Key;
use crate::version::Dot;

const CONTEXT: u8 = 9;
const MICROS: u64 = 1000;

fn call(author: NodeId, slot: ContextSlot, micros: u64) -> CallEffects {
    let private = Op {
        space: Space::Private,
        ..Op::set("own".into(), "value".into())
    };
    CallEffects {
        slot,
        ops: vec![Op::set("key".into(), "value".into()), private],
        ..CallEffects::new(id(CONTEXT), author, Hlc::from_micros(micros))
    }
}

/// A context with a seal, an answer and a member.
fn source() -> (tempfile::TempDir, Ledger) {
    let (dir, ledger, _) = two();
    let key = Key::new(1);
    let mut made = call(key.node_id(), ContextSlot::UNASSIGNED, MICROS);
    made.ops.truncate(1);
    let new = NewContext {
        id: id(CONTEXT),
        name: None,
        application: ApplicationId::from_bytes([1; 32]),
        created: made.hlc,
        call: made,
    };
    let commit = |change| ledger.commit(vec![change]).unwrap().remove(0).unwrap();
    let slot = commit(Change::CreateContext(new)).slot();
    commit(Change::ShareContext(id(CONTEXT)));
    while ledger.sweep(1000).unwrap().is_more {}
    let mut effects = call(key.node_id(), slot, MICROS + 1);
    effects.answer = Some(Box::new(KeyedAnswer {
        key: AnswerKey::of(b"key"),
        request: RequestDigest::of(b"method", b""),
        fuel_used: 1,
        said: Said::Output(Bytes::from_static(b"1")),
    }));
    let delta = commit(Change::Call(effects)).delta_id().unwrap();
    commit(Change::KeepSeal(key.seal(id(CONTEXT), delta)));
    commit(Change::SetMembers {
        context: id(CONTEXT),
        members: vec![Key::new(2).node_id()],
        now: Hlc::from_micros(MICROS + 2),
    });
    ledger.writer().checkpoint().unwrap();
    (dir, ledger)
}

/// Rows on their way into another ledger, of which some are others than they were.
struct Lying<'h, 'l> {
    writer: &'h mut LedgerWriter<'l>,
    intake: Intake<'l>,
    inspector: Inspector,
    lie: &'h dyn Fn(&mut Row<'_>) -> Vec<Row<'static>>,
}

impl RowSink for Lying<'_, '_> {
    fn push(&mut self, row: &Row<'_>) -> Result<(), ExportError> {
        let mut row = row.clone();
        let before = (self.lie)(&mut row);
        for row in before.into_iter().chain([row]) {
            let inspected = self.inspector.row(row);
            let taken = inspected.and_then(|row| self.intake.row(self.writer, row));
            taken.map_err(|error| ExportError::Refused(Box::new(error)))?;
        }
        Ok(())
    }
}

/// Rows on their way into another ledger, of whose deltas at most so many bytes have waited.
struct Watched<'h, 'l> {
    writer: &'h mut LedgerWriter<'l>,
    intake: Intake<'l>,
    inspector: Inspector,
    waiting_bytes: usize,
}

impl RowSink for Watched<'_, '_> {
    fn push(&mut self, row: &Row<'_>) -> Result<(), ExportError> {
        let inspected = self.inspector.row(row.clone()).unwrap();
        self.intake.row(self.writer, inspected).unwrap();
        if let Some((target, _)) = &self.intake.target {
            self.waiting_bytes = self.waiting_bytes.max(target.waiting_bytes());
        }
        Ok(())
    }
}

/// How many records each table has, but for those that say what comes next.
fn records(ledger: &Ledger) -> Vec<(&'static str, u64)> {
    let tables = ledger.shared.tables;
    let txn = ledger.shared.env.read_txn().unwrap();
    let lens = tables.all().map(|table| table.len(&txn).unwrap());
    TABLE_NAMES.iter().copied().zip(lens).collect()
}

/// At the beginning of time, believing stamps up to this.
fn until(latest: Hlc) -> Arrival {
    Arrival {
        now: Hlc::ZERO,
        latest,
    }
}

/// Takes the context in, with rows that are changed or preceded by others.
fn import(
    source: &Ledger,
    target: &Ledger,
    arrival: Arrival,
    lie: &dyn Fn(&mut Row<'_>) -> Vec<Row<'static>>,
) -> Result<CopiedContext, ImportError> {
    let snapshot = source.snapshot().unwrap();
    let record = snapshot.context(&id(CONTEXT)).unwrap().unwrap();
    let mut writer = target.writer();
    let known = authors(&mut writer).unwrap();
    let mut lying = Lying {
        writer: &mut writer,
        intake: Intake::of_copy(arrival),
        inspector: Inspector::default(),
        lie,
    };
    let written = write_context(&snapshot, &record, ExportScope::ALL, &mut lying);
    let Lying { intake, .. } = lying;
    let taken = match written {
        Ok(_) => intake.finish(&mut writer),
        Err(ExportError::Refused(error)) => {
            drop(intake);
            Err(*error)
        }
        Err(error) => panic!("{error}"),
    };
    if taken.is_err() {
        take_back(&mut writer, known);
    }
    taken
}

/// The lie is refused, and leaves nothing in any table.
#[track_caller]
fn refused(lie: &dyn Fn(&mut Row<'_>) -> Vec<Row<'static>>) -> ImportError {
    let ((_one, source), (_other, target, _)) = (source(), two());
    let before = records(&target);
    let latest = Hlc::from_micros(MICROS + 2);
    let error = import(&source, &target, until(latest), lie).expect_err("it is a lie");
    assert_eq!(records(&target), before);
    import(&source, &target, until(latest), &|_| vec![]).expect("the truth is taken in");
    // It goes on there.
    let slot = target
        .snapshot()
        .unwrap()
        .slot_of(&id(CONTEXT))
        .unwrap()
        .unwrap();
    let key = Key::new(1);
    let goes_on = call(key.node_id(), slot, 2 * MICROS);
    let committed = target
        .commit(vec![Change::Call(goes_on)])
        .unwrap()
        .remove(0)
        .unwrap();
    let sealed = key.seal(id(CONTEXT), committed.delta_id().unwrap());
    let kept = target
        .commit(vec![Change::KeepSeal(sealed)])
        .unwrap()
        .remove(0);
    kept.unwrap();
    crate::verify(&target.snapshot().unwrap()).unwrap();
    error
}

fn changed(lie: impl Fn(&mut Row<'_>)) -> impl Fn(&mut Row<'_>) -> Vec<Row<'static>> {
    move |row| {
        lie(row);
        vec![]
    }
}

#[test]
fn counts_that_would_overflow_are_refused() {
    let version = |far| {
        changed(move |row| {
            if let Row::Head(head) = row {
                head.version = far;
            }
        })
    };
    for far in [u64::MAX, u64::MAX - 1, COUNT_MAX] {
        let error = refused(&version(far));
        assert!(matches!(error, ImportError::Malformed { .. }), "{error}");
    }
    let of_seal = changed(|row| {
        if let Row::Seal { version, .. } = row {
            *version = u64::MAX;
        }
    });
    let error = refused(&of_seal);
    assert!(matches!(error, ImportError::Malformed { .. }), "{error}");
}

/// What lists and texts say of themselves is compared with their edits when all came; until then
/// it is summed: within an entry, with its key, and with other entries.
#[test]
fn entries_of_more_than_a_number_holds_are_refused() {
    const MAX: u64 = u64::MAX;
    const KEY: &[u8] = b"key";
    let with_key = MAX - KEY.len() as u64;
    // Whether there is a value beside them, and the bytes and edits of a list and a text.
    let cases = [
        (false, &[(MAX, None), (MAX, None)][..]),
        (true, &[(MAX, None)]),
        (false, &[(MAX, None)]),
        (false, &[(with_key, None)]),
        (false, &[(1, Some(MAX)), (1, Some(MAX))]),
    ];
    for (has_value, sequences) in cases {
        let error = refused(&changed(|row| {
            let Row::Value {
                space: Space::Shared,
                dot,
                ..
            } = row
            else {
                return;
            };
            let (author, hlc) = (dot.author.to_le_bytes(), dot.hlc.bits().to_le_bytes());
            let dot = [&author[..], &hlc].concat();
            let mut state = Vec::new();
            if has_value {
                state.push(EntryKind::Register.number());
                state.extend(1_u32.to_le_bytes());
                state.extend(&dot);
                state.extend(1_u32.to_le_bytes());
                state.push(7);
            }
            for (kind, (bytes, edits)) in [EntryKind::List, EntryKind::Text].iter().zip(sequences) {
                state.push(kind.number());
                state.extend(bytes.to_le_bytes());
                state.extend(1_u32.to_le_bytes());
                state.extend(&dot);
                state.extend(u32::from(edits.is_some()).to_le_bytes());
                if let Some(edits) = edits {
                    state.extend(&dot);
                    state.extend(edits.to_le_bytes());
                    state.extend([0; 32]);
                }
            }
            *row = Row::Sections {
                space: Space::Shared,
                key: KEY,
                state: state.leak(),
            };
        }));
        let is_told =
            matches!(&error, ImportError::Malformed { why } if why.contains("more bytes"));
        assert!(is_told, "{has_value} {sequences:?}: {error}");
    }
}

/// A later seal of the same author would be taken for an older one for good.
#[test]
fn a_seal_of_what_its_context_has_not_seen_is_refused() {
    let error = refused(&changed(|row| {
        if let Row::Seal { hlc, .. } = row {
            *hlc = Hlc::MAX;
        }
    }));
    assert!(matches!(error, ImportError::Malformed { .. }), "{error}");
}

/// An answer would never be past its time, a member never be away, and no later stamp be given.
#[test]
fn answers_members_and_notes_from_the_future_are_refused() {
    for lie in 0..3 {
        let error = refused(&changed(|row| match (lie, row) {
            (0, Row::Member { since, .. }) => *since = Hlc::MAX,
            (1, Row::Answer { answer, .. }) => answer.hlc = Hlc::MAX,
            (2, Row::Value { space, dot, .. }) if *space == Space::Private => {
                (*space, dot.hlc) = (Space::Agenda, Hlc::MAX);
            }
            _ => {}
        }));
        let is_told = matches!(
            error,
            ImportError::FromTheFuture {
                stamp: Hlc::MAX,
                ..
            }
        );
        assert!(is_told, "{lie}: {error}");
    }
}

/// No trie tells: it would be counted twice and be there once.
#[test]
fn a_private_entry_that_is_given_twice_is_refused() {
    let again = |row: &mut Row<'_>| match row {
        Row::Value {
            space: Space::Private,
            dot,
            ..
        } => vec![Row::Value {
            space: Space::Private,
            key: b"own",
            dot: *dot,
            bytes: b"value",
        }],
        _ => vec![],
    };
    let error = refused(&again);
    let is_told = matches!(&error, ImportError::Malformed { why } if why.contains("twice"));
    assert!(is_told, "{error}");
}

/// What no call can have made: no write finds it as it has to be, and no trie tells.
#[test]
fn a_private_entry_that_is_no_register_is_refused() {
    let error = refused(&changed(|row| {
        if let Row::Value {
            space: Space::Private,
            dot,
            ..
        } = row
        {
            // A write-once value with the same bytes.
            let mut state = vec![7];
            state.extend(1_u32.to_le_bytes());
            state.extend(dot.author.to_le_bytes());
            state.extend(dot.hlc.bits().to_le_bytes());
            state.extend(5_u32.to_le_bytes());
            state.extend(b"value");
            *row = Row::Sections {
                space: Space::Private,
                key: b"own",
                state: state.leak(),
            };
        }
    }));
    let is_told = matches!(&error, ImportError::Malformed { why } if why.contains("no register"));
    assert!(is_told, "{error}");
}

/// What it builds on decides what becomes of it, so the root covers that.
#[test]
fn an_edit_of_which_a_copy_says_that_it_had_seen_something_else_is_refused() {
    let (_one, source) = source();
    let slot = source
        .snapshot()
        .unwrap()
        .slot_of(&id(CONTEXT))
        .unwrap()
        .unwrap();
    let authors = [Key::new(1), Key::new(3)].map(|key| key.node_id());
    let edit = |author: usize, micros, births: &[Birth], update: Vec<u8>| {
        let write = Write::Edit {
            kind: EntryKind::Text,
            births: births.iter().copied().collect(),
            update: update.into(),
        };
        let hlc = Hlc::from_micros(MICROS + micros);
        let effects = CallEffects {
            slot,
            ops: vec![Op::shared("text".into(), write)],
            ..CallEffects::new(id(CONTEXT), authors[author], hlc)
        };
        source
            .commit(vec![Change::Call(effects)])
            .unwrap()
            .remove(0)
            .unwrap();
        Birth {
            author: authors[author],
            hlc,
        }
    };
    let birth = edit(0, 3, &[], b"birth".to_vec());
    // It names the first author.
    let names = [&[1, 2, 1][..], authors[0].as_bytes(), b"rest"].concat();
    edit(1, 4, &[birth], names);
    source.writer().checkpoint().unwrap();
    let latest = Hlc::from_micros(MICROS + 9);
    let taken = |lie: &dyn Fn(&mut Row<'_>)| {
        let (_other, target, _) = two();
        let lies = std::cell::Cell::new(0);
        let changed = changed(|row| {
            if matches!(row, Row::Edit { seen, .. } if !seen.is_empty()) {
                lies.set(lies.get() + 1);
                lie(row);
            }
        });
        let taken = import(&source, &target, until(latest), &changed);
        assert_eq!(lies.get(), 1);
        taken
    };
    taken(&|_| {}).expect("the truth is taken in");
    let refused = |lie: &dyn Fn(&mut Row<'_>)| {
        let error = format!("{:?}", taken(lie).expect_err("it is a lie"));
        assert!(error.contains("its edits are not the ones"), "{error}");
    };
    refused(&|row| {
        if let Row::Edit { seen, .. } = row {
            seen.clear();
        }
    });
    refused(&|row| {
        if let Row::Edit { seen, .. } = row {
            seen[0].hlc = Hlc::from_bits(seen[0].hlc.bits() - 1);
        }
    });
    refused(&|row| {
        if let Row::Edit { births, .. } = row {
            *births = BirthsView::of(births.as_slice(), false).unwrap();
        }
    });
}

/// Its trie could be worked out to fit.
#[test]
fn an_owned_entry_of_another_author_is_refused() {
    let error = refused(&changed(|row| {
        if let Row::Value { space, key, .. } = row
            && *space == Space::Shared
        {
            (*space, *key) = (Space::Owned, &[9; 40]);
        }
    }));
    let is_told =
        matches!(&error, ImportError::Malformed { why } if why.contains("another author"));
    assert!(is_told, "{error}");
}

/// Both would become one number of the ledger, and what an entry has of both no state.
#[test]
fn an_author_with_two_numbers_is_refused() {
    for is_behind_head in [false, true] {
        let named = Cell::new(None);
        let again = |row: &mut Row<'_>| {
            let twice = match row {
                Row::Author { node, .. } if named.replace(Some(*node)).is_none() => !is_behind_head,
                Row::Value { space, .. } => is_behind_head && *space == Space::Shared,
                _ => false,
            };
            let node = named.get().filter(|_| twice);
            let number = 1000;
            node.map(|node| Row::Author { number, node })
                .into_iter()
                .collect()
        };
        let error = refused(&again);
        let is_told = matches!(&error, ImportError::Malformed { why } if why.contains("twice"));
        assert!(is_told, "{error}");
    }
}

/// Numbers of authors are never given again, and all of them are read with each commit.
#[test]
fn authors_that_only_a_refused_copy_has_named_are_none_of_the_ledger() {
    let named = |row: &mut Row<'_>| match row {
        Row::Head(head) => {
            let dots = (1000..1500).map(|author| Dot {
                author,
                hlc: Hlc::from_micros(1),
            });
            head.seen.extend(dots);
            let node =
                |number: u32| NodeId::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes());
            let row = |number| Row::Author {
                number,
                node: node(number),
            };
            (1000..1500).map(row).collect()
        }
        Row::ContextEnd(counts, _) => {
            counts.events += 1;
            vec![]
        }
        _ => vec![],
    };
    refused(&named);
}

/// A number that is nobody's any more does not make the next one smaller.
#[test]
fn a_refused_copy_takes_no_author_along_where_others_were_dropped() {
    let (_dir, target, _) = two();
    let write = |n: u8, author: u8, micros| CallEffects {
        ops: vec![Op::set("key".into(), "value".into())],
        ..CallEffects::new(
            id(n),
            NodeId::from_bytes([author; 32]),
            Hlc::from_micros(micros),
        )
    };
    let commit = |change| target.commit(vec![change]).unwrap().remove(0).unwrap();
    let first = write(3, 5, 10);
    commit(Change::CreateContext(NewContext {
        id: id(3),
        name: None,
        application: ApplicationId::from_bytes([1; 32]),
        created: first.hlc,
        call: first,
    }));
    commit(Change::Call(write(1, 6, 11)));
    commit(Change::DeleteContext(id(3)));
    while target.sweep(1000).unwrap().is_more {}
    let known = |ledger: &Ledger| {
        let authors = ledger.snapshot().unwrap().authors().unwrap();
        authors.numbers().collect::<Vec<_>>()
    };
    assert_eq!(known(&target), [0, 1, 2]);
    scrub_twice(&target);
    assert_eq!(known(&target), [0, 2]);
    let (_other, source) = source();
    let latest = Hlc::from_micros(MICROS + 2);
    let far = changed(|row| {
        if let Row::ContextEnd(counts, _) = row {
            counts.events += 1;
        }
    });
    import(&source, &target, until(latest), &far).expect_err("it is a lie");
    assert_eq!(known(&target), [0, 2]);
    crate::verify(&target.snapshot().unwrap()).unwrap();
    import(&source, &target, until(latest), &|_| vec![]).expect("the truth is taken in");
    assert_eq!(known(&target), [0, 2, 3]);
    crate::verify(&target.snapshot().unwrap()).unwrap();
    // And from here on.
    let (_another, further, _) = two();
    let latest = Hlc::from_micros(MICROS + 2);
    import(&target, &further, until(latest), &|_| vec![]).expect("numbers are this ledger's alone");
    crate::verify(&further.snapshot().unwrap()).unwrap();
}

/// A name that moves to another context between the snapshots of two shards.
#[test]
fn a_backup_taken_while_a_name_moves_can_be_restored() {
    let dir = tempfile::tempdir().unwrap();
    let shards = ShardCount::new(2).unwrap();
    let options = OpenOptions {
        shards_if_new: shards,
        node_id_if_new: NodeId::from_bytes([4; 32]),
    };
    let data = DataDir::open(dir.path(), &options).unwrap();
    let config = LedgerConfig::default();
    let ledgers: Vec<_> = (shards.shards())
        .map(|shard| Ledger::open(&data.ledger_place(shard), &config).unwrap())
        .collect();
    let on = |wanted: u16| {
        let mut ids = (0..=u8::MAX).map(id);
        ids.find(|id| ShardId::of(id, shards).number() == wanted)
            .unwrap()
    };
    let (first, second) = (on(1), on(0));
    let create = |context: ContextId, micros: u64| {
        let author = NodeId::from_bytes([4; 32]);
        let call = CallEffects::new(context, author, Hlc::from_micros(micros));
        Change::CreateContext(NewContext {
            id: context,
            name: Some("room".to_owned()),
            application: ApplicationId::from_bytes([1; 32]),
            created: call.hlc,
            call,
        })
    };
    let put = |context| Change::PutName {
        name: "room".to_owned(),
        context,
    };
    let commit = |shard: usize, change| {
        let mut writer = ledgers[shard].writer();
        let mut outcome = writer.commit_shown(vec![change]).unwrap();
        outcome.verdicts.remove(0).unwrap();
    };
    commit(0, put(first));
    commit(1, create(first, 1));
    let before = ledgers[1].snapshot().unwrap();
    commit(1, Change::DeleteContext(first));
    let name = "room".to_owned();
    let removal = Change::RemoveName {
        name,
        context: first,
    };
    commit(0, removal);
    commit(0, put(second));
    commit(0, create(second, 2));
    let snapshots = [ledgers[0].snapshot().unwrap(), before];
    let source = BackupSource {
        node: NodeId::from_bytes([4; 32]),
        snapshots: &snapshots,
        component: &|_| PathBuf::new(),
        blobs: None,
    };
    let mut file = Vec::new();
    write_backup(&source, &mut file, &mut |_| {}).unwrap();
    for file in [file, first_backup(&snapshots, second)] {
        let to = tempfile::tempdir().unwrap();
        let options = RestoreOptions {
            shards: None,
            component: &|_| String::new(),
            ledger: LedgerConfig::default(),
            arrival: Arrival::trusting(Hlc::ZERO),
        };
        let path = to.path().join("data");
        restore(Cursor::new(file.clone()), &path, &options, &mut |_| {}).unwrap();
        let data = DataDir::look(&path).unwrap();
        let open = |shard| Ledger::open(&data.ledger_place(shard), &config).unwrap();
        let ledgers: Vec<_> = shards.shards().map(open).collect();
        let name = |shard: usize, context| {
            let snapshot = ledgers[shard].snapshot().unwrap();
            snapshot.context(&context).unwrap().unwrap().name
        };
        assert_eq!(
            (name(1, first), name(0, second)),
            (None, Some("room".to_owned()))
        );
        let directory = ledgers[0].snapshot().unwrap();
        assert_eq!(directory.name("room").unwrap(), Some(second));
    }
}

/// It must not remove what the other one makes, not when it fails either.
#[test]
fn a_restore_to_where_another_is_at_it_leaves_that_alone() {
    let home = tempfile::tempdir().unwrap();
    let beside = home.path().join("data.restoring");
    std::fs::create_dir(&beside).unwrap();
    let other = Lock::take(&beside).unwrap();
    std::fs::write(beside.join("what"), "the other makes").unwrap();
    let options = RestoreOptions {
        shards: None,
        component: &|_| String::new(),
        ledger: LedgerConfig::default(),
        arrival: Arrival::trusting(Hlc::ZERO),
    };
    let try_to = || {
        let path = home.path().join("data");
        restore(Cursor::new(vec![]), &path, &options, &mut |_| {}).unwrap_err()
    };
    let error = try_to();
    assert!(
        matches!(error, ImportError::Store(StoreError::Locked { .. })),
        "{error}"
    );
    assert!(beside.join("what").exists());
    drop(other);
    // Now it is what a kill has left, and what there is to restore is nothing.
    let error = try_to();
    assert!(!matches!(error, ImportError::Store(_)), "{error}");
    assert!(!beside.exists());
}

/// As one was written before names were looked up: both contexts have the name.
fn first_backup(snapshots: &[Snapshot], holder: ContextId) -> Vec<u8> {
    let mut file = Vec::new();
    let mut rows = RowWriter::new(FrameWriter::begin(&mut file, ExportKind::Backup).unwrap());
    let id = NodeId::from_bytes([4; 32]);
    rows.push(&Row::Node { id, shards: 2 }).unwrap();
    for snapshot in snapshots {
        for record in snapshot.contexts(None, 9).unwrap() {
            write_context(snapshot, &record, ExportScope::ALL, &mut rows).unwrap();
        }
    }
    let (name, context) = ("room", holder);
    rows.push(&Row::Name { name, context }).unwrap();
    let counts = BackupCounts {
        contexts: 2,
        names: 1,
        ..BackupCounts::default()
    };
    rows.push(&Row::BackupEnd(counts)).unwrap();
    rows.end().unwrap();
    file
}

/// The newest comes first. Put one by one each would be before all others, where pages stay less
/// than half full, and all together they would be as much memory as there is log.
#[test]
fn the_log_of_a_copy_waits_within_bounds_and_lies_on_few_pages() {
    const DELTAS: u64 = 12_000;
    let (_one, source, [slot, _]) = two();
    let deltas: Vec<u64> = (0..DELTAS).collect();
    for some in deltas.chunks(1_000) {
        let call = |n: &u64| {
            let op = Op::set("key".into(), vec![7; 200].into());
            Change::Call(crate::fixture::call(1, slot, MICROS + n, vec![op]))
        };
        let verdicts = source.commit(some.iter().map(call).collect()).unwrap();
        assert!(verdicts.iter().all(Result::is_ok));
    }
    let dir = tempfile::tempdir().unwrap();
    let target = crate::fixture::open(&dir);
    let snapshot = source.snapshot().unwrap();
    let record = snapshot.context(&id(1)).unwrap().unwrap();
    let mut writer = target.writer();
    let mut watched = Watched {
        writer: &mut writer,
        intake: Intake::of_copy(until(Hlc::MAX)),
        inspector: Inspector::default(),
        waiting_bytes: 0,
    };
    write_context(&snapshot, &record, ExportScope::ALL, &mut watched).unwrap();
    let Watched {
        intake,
        waiting_bytes,
        ..
    } = watched;
    intake.finish(&mut writer).unwrap();
    drop(writer);

    let txn = target.shared.env.read_txn().unwrap();
    let log = target.shared.tables.log;
    let records = log.iter(&txn).unwrap().map(Result::unwrap);
    let bytes: usize = records.map(|(key, record)| key.len() + record.len()).sum();
    assert!(bytes > 4 << 20, "{bytes} bytes");
    assert!(waiting_bytes < (1 << 20) + 4096, "{waiting_bytes} bytes");
    let pages = log.stat(&txn).unwrap().leaf_pages;
    let page_bytes = usize::try_from(crate::layout::PAGE_BYTES).unwrap();
    assert!(
        pages * page_bytes < bytes * 2,
        "{bytes} bytes on {pages} pages"
    );
}
