//! The copier that the tests kill, or whose calls they let fail: fills data directories,
//! backs them up, restores and reshards them, and says what is in them. Speaks only of what
//! is done, and on an error of that and its causes, as `corelet` does.
//!
//! `copies fill DIR SHARDS FIRST..LAST` writes contexts with all kinds of records.
//! `copies backup DIR FILE`, `copies restore FILE DIR SHARDS`, `copies reshard DIR SHARDS`
//! `copies export DIR FILE` and `copies import FILE DIR` do what they say. `copies show DIR` starts as a
//! server does, and prints a line for each context, name, application and blob, in order. `copies check DIR`
//! prints findings, and ends with 1 if there are any. How quick copies are is measured by `state_cost`.

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::ops::Range;
use std::path::Path;
use std::process::ExitCode;

use bytes::Bytes;
use corelet_store::{
    ApplicationId, ApplicationRecord, Arrival, Attachment, BLOB_GROUP_BYTES, BackupSource, BlobId,
    BlobLimit, Blobs, CallEffects, Change, ContextId, DataDir, Event, ExportScope, Hlc,
    ImportPlace, Ledger, LedgerConfig, NewContext, NodeId, Op, OpenOptions, RestoreOptions,
    ShardCount, ShardId, Space, Write as EntryWrite, add_keys, check, export_context, import_into,
    read_copy, reconcile_names, reshard, restore, write_backup,
};

type Outcome = Result<(), Box<dyn Error>>;

const NODE: NodeId = NodeId::from_bytes([7; 32]);

/// The context that is exported: it has a name.
const EXPORTED: u64 = 0;

/// The one that has a blob attached.
const ATTACHING: u64 = 1;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Err(error) = work(&args.iter().map(String::as_str).collect::<Vec<_>>()) else {
        return ExitCode::SUCCESS;
    };
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        told.push_str(&format!(": {error}"));
        cause = error.source();
    }
    eprintln!("{told}");
    ExitCode::FAILURE
}

fn work(args: &[&str]) -> Outcome {
    match *args {
        ["fill", dir, shards, contexts] => {
            let (first, last) = contexts
                .split_once("..")
                .ok_or("contexts are FIRST..LAST")?;
            fill(dir.as_ref(), count(shards)?, first.parse()?..last.parse()?)
        }
        ["backup", dir, file] => backup(dir.as_ref(), file.as_ref()),
        ["restore", file, dir, shards] => {
            let options = RestoreOptions {
                shards: Some(count(shards)?),
                component: &component,
                ledger: config(),
                arrival: Arrival::trusting(Hlc::ZERO),
            };
            let file = BufReader::new(File::open(file)?);
            restore(file, dir.as_ref(), &options, &mut |_| {})?;
            Ok(())
        }
        ["reshard", dir, shards] => {
            reshard(dir.as_ref(), count(shards)?, &config(), &mut |_, _| {})?;
            Ok(())
        }
        ["export", dir, file] => {
            let (data, ledgers) = open(dir.as_ref(), count("1")?)?;
            let owner = &ledgers[owner(EXPORTED, data.manifest().shards)];
            let file = File::create(file)?;
            let (context, scope) = (id(EXPORTED), ExportScope::ALL);
            export_context(&owner.snapshot()?, &context, scope, BufWriter::new(&file))?;
            Ok(file.sync_all()?)
        }
        ["import", file, dir] => {
            let place = ImportPlace {
                path: dir.as_ref(),
                ledger: config(),
                arrival: Arrival::trusting(Hlc::ZERO),
            };
            import_into(&place, BufReader::new(File::open(file)?))?;
            Ok(())
        }
        ["show", dir] => show(dir.as_ref()),
        ["check", dir] => {
            let report = check(dir.as_ref(), &mut |_| {})?;
            report
                .findings
                .iter()
                .for_each(|finding| println!("{finding}"));
            match report.is_whole() {
                true => Ok(()),
                false => Err("it is not whole".into()),
            }
        }
        _ => Err("usage: see the head of this program's source".into()),
    }
}

fn count(shards: &str) -> Result<ShardCount, Box<dyn Error>> {
    Ok(ShardCount::new(shards.parse()?).ok_or("too many shards, or none")?)
}

fn config() -> LedgerConfig {
    LedgerConfig {
        map_bytes_max: 16 << 30,
        readers_max: 16,
        // Each page of it is read by a call of its own.
        journal_bytes_max: 256 << 10,
        ..LedgerConfig::default()
    }
}

fn component(id: &ApplicationId) -> String {
    format!("{id}.wasm")
}

fn open(dir: &Path, shards: ShardCount) -> Result<(DataDir, Vec<Ledger>), Box<dyn Error>> {
    let options = OpenOptions {
        shards_if_new: shards,
        node_id_if_new: NODE,
    };
    let data = DataDir::open(dir, &options)?;
    let shards = data.manifest().shards.shards();
    let ledgers = shards.map(|shard| Ledger::open(&data.ledger_place(shard), &config()));
    let ledgers = ledgers.collect::<Result<Vec<_>, _>>()?;
    Ok((data, ledgers))
}

fn id(n: u64) -> ContextId {
    ContextId::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes())
}

fn owner(n: u64, shards: ShardCount) -> usize {
    usize::from(ShardId::of(&id(n), shards).number())
}

/// What is attached: three groups, of which the last is no whole one.
fn blob() -> Vec<u8> {
    let mut content = vec![0; 2 * BLOB_GROUP_BYTES + 7];
    blake3::Hasher::new().finalize_xof().fill(&mut content);
    content
}

fn set(space: Space, key: String, value: Vec<u8>) -> Op {
    Op {
        space,
        key: Bytes::from(key),
        removes_first: false,
        write: EntryWrite::Set(Bytes::from(value)),
    }
}

fn effects(n: u64, hlc: u64, mut ops: Vec<Op>, events: Vec<Event>) -> CallEffects {
    ops.sort_by(|a, b| (a.space, &a.key).cmp(&(b.space, &b.key)));
    CallEffects {
        ops,
        events,
        ..CallEffects::new(id(n), NODE, Hlc::from_bits(hlc << 12))
    }
}

fn fill(dir: &Path, shards: ShardCount, contexts: Range<u64>) -> Outcome {
    let (data, ledgers) = open(dir, shards)?;
    let content = b"a component";
    let application = ApplicationId::from_bytes(*blake3::hash(content).as_bytes());
    std::fs::write(data.blobs_dir().join(component(&application)), content)?;
    commit(
        &ledgers[0],
        vec![Change::PutApplication(ApplicationRecord {
            id: application,
            name: "app".into(),
            version: "1".into(),
            size_bytes: content.len() as u64,
            installed: Hlc::from_bits(1 << 12),
            description: "{}".into(),
            reuse: corelet_store::Reuse::default(),
        })],
    )?;
    std::fs::write(data.keys_dir().join("node.key"), b"not a real one")?;
    let mut writer = Blobs::open(data.blobs_dir())?.writer(None, BlobLimit::FORMAT)?;
    writer.write(&blob())?;
    let attachment = Attachment {
        blob: writer.finish()?.id(),
        bytes: blob().len() as u64,
    };
    for n in contexts {
        let name = (n % 3 == 0).then(|| format!("context-{n}"));
        if let Some(name) = name.clone() {
            let context = id(n);
            commit(&ledgers[0], vec![Change::PutName { name, context }])?;
        }
        let owner = &ledgers[owner(n, shards)];
        let ops = (0..40).map(|k| set(Space::Shared, format!("key-{k:03}"), vec![n as u8; 100]));
        let new = NewContext {
            id: id(n),
            name,
            application,
            created: Hlc::from_bits(5 << 12),
            call: effects(n, 10, ops.collect(), vec![]),
        };
        commit(owner, vec![Change::CreateContext(new)])?;
        let add = Op::shared(Bytes::from_static(b"counter"), EntryWrite::Add(n as i64));
        let private = set(Space::Private, "secret".into(), vec![1; 9]);
        let large = set(Space::Shared, "large".into(), vec![n as u8; 9000]);
        let event = Event {
            kind: "made".into(),
            payload: Bytes::from(n.to_string()),
        };
        let mut ops = vec![add, private, large];
        if n == ATTACHING {
            ops.push(Op {
                space: Space::Attached,
                key: Bytes::copy_from_slice(&attachment.key()),
                removes_first: false,
                write: EntryWrite::Insert,
            });
        }
        let call = effects(n, 11, ops, vec![event]);
        commit(owner, vec![Change::Call(call)])?;
        // This one stays in the journal.
        let last = effects(
            n,
            12,
            vec![set(Space::Shared, "last".into(), vec![2])],
            vec![],
        );
        let outcome = owner.writer().commit(vec![Change::Call(last)])?;
        outcome
            .verdicts
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
    }
    Ok(())
}

fn commit(ledger: &Ledger, batch: Vec<Change>) -> Outcome {
    for verdict in ledger.commit(batch)? {
        verdict?;
    }
    Ok(())
}

fn backup(dir: &Path, file: &Path) -> Outcome {
    let (data, ledgers) = open(dir, count("1")?)?;
    let snapshots = ledgers.iter().map(Ledger::snapshot);
    let snapshots = snapshots.collect::<Result<Vec<_>, _>>()?;
    let source = BackupSource {
        node: data.manifest().node_id,
        snapshots: &snapshots,
        component: &|id| data.blobs_dir().join(component(id)),
        blobs: Some(&Blobs::open(data.blobs_dir())?),
    };
    let mut backup = Vec::new();
    write_backup(&source, &mut backup, &mut |_| {})?;
    for (blob, why) in read_copy(&backup[..])?.blobs_left_out {
        println!("blob {blob} is not in it: {why}");
    }
    let file = File::create(file)?;
    add_keys(&backup[..], &data.keys_dir(), BufWriter::new(&file))?;
    Ok(file.sync_all()?)
}

fn show(dir: &Path) -> Outcome {
    if !dir.join("manifest").exists() {
        return Err("there is no data directory".into());
    }
    let (data, ledgers) = open(dir, count("1")?)?;
    reconcile_names(&ledgers)?;
    let mut lines = Vec::new();
    let blob = BlobId::of(&blob());
    if let Some(bytes) = Blobs::open(data.blobs_dir())?.check(blob)? {
        lines.push(format!("{blob} {bytes} bytes attached"));
    }
    for ledger in &ledgers {
        let snapshot = ledger.snapshot()?;
        for record in snapshot.contexts(None, usize::MAX)? {
            let head = snapshot.head(record.slot)?;
            let secret = snapshot.get(record.slot, Space::Private, b"secret")?;
            lines.push(format!(
                "{} {:?} {} {} {} {} {} {secret:?}",
                record.id,
                record.name,
                head.root,
                head.version,
                head.bytes,
                head.log_count,
                // A restore numbers them anew, but for what is below 1024.
                head.events_last % 1024
            ));
        }
        for (_, found) in snapshot.names(None, usize::MAX)? {
            let (name, context) = found?;
            lines.push(format!("{name} {context}"));
        }
        for application in snapshot.applications()? {
            let file = std::fs::read(data.blobs_dir().join(component(&application.id)))?;
            lines.push(format!("{} {} bytes", application.id, file.len()));
        }
    }
    lines.sort();
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}
