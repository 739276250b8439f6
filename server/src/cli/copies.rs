//! Copies: `corelet backup` and `corelet context export` of a running server; `corelet
//! restore`, `corelet reshard` and `corelet context import`, which are done to data
//! directories that no server has open.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, IsTerminal, PipeWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use corelet_net::Identity;
use corelet_shard::component_file;
use corelet_store::{
    Arrival, BlobId, ContextId, ExportError, Hlc, ImportError, ImportPlace, LedgerConfig,
    RestoreOptions, ShardCount, StoreError, add_keys, import_into, read_copy, reshard, restore,
};
use serde_json::json;

use super::args::Global;
use super::args::copies::{BackupArgs, ImportArgs, ReshardArgs, RestoreArgs};
use super::context;
use super::failure::{Exit, Failure};
use super::kept::{STDOUT, copy, is_stdout, keep};
use super::left_out::LeftOut;
use super::output::Out;
use super::progress::Progress;
use super::settings;
use crate::config::Config;
use crate::private_dir::check_own;
use crate::refusal::chain;

/// A file's bytes are read so many at a time.
const READ_BYTES: usize = 256 << 10;

pub(super) fn back_up(args: &BackupArgs, global: &Global, out: &Out) -> Result<(), Failure> {
    let to_stdout = is_stdout(&args.file);
    if to_stdout && args.with_keys && io::stdout().is_terminal() {
        return Err(Failure::new(
            Exit::Usage,
            "keys are not shown on a terminal: name a file, or send the backup into one or a pipe",
        ));
    }
    let client = super::client(global)?;
    let body = client.download("/v1/backup")?;
    let keys = args.with_keys.then(|| global.data_dir.join("keys"));
    let saved = match to_stdout {
        true => pour(body, keys.as_deref(), out)?,
        false => save(body, &args.file, keys.as_deref(), "backing up", out)?,
    };
    let bytes = saved.bytes;
    let contexts = LeftOut::all(&saved.left_out);
    contexts.say(
        out,
        "contexts are out of service and not in it",
        |context, why| {
            format!("context {context} is out of service, and so it is not in it: {why}")
        },
    );
    let blobs = LeftOut::all(&saved.blobs_left_out);
    blobs.say(out, "blobs are attached and not in it", |blob, why| {
        format!("blob {blob} is attached and not in it: {why}; upload its content again, and back up anew")
    });
    let file = match to_stdout {
        true => STDOUT.to_owned(),
        false => args.file.display().to_string(),
    };
    let keys = match args.with_keys {
        true => "with the node's keys: keep it secret",
        false => "without the node's keys: keep those apart, as a restored directory needs them",
    };
    let told = format!(
        "backed up to {file} ({}), {keys}",
        super::output::size(bytes)
    );
    let document = || {
        json!({
            "file": args.file,
            "bytes": bytes,
            "keys": args.with_keys,
            "left_out": contexts.ids(),
            "blobs_left_out": blobs.ids(),
        })
    };
    match to_stdout {
        true => out.done_beside(&told, document),
        false => out.done(&told, document),
    }
}

pub(super) fn export(
    context: &str,
    to: Option<&Path>,
    global: &Global,
    out: &Out,
) -> Result<(), Failure> {
    let path = format!("{}/export", context::path(context)?);
    let mut body = super::client(global)?.download(&path)?;
    let Some(file) = to.filter(|file| !is_stdout(file)) else {
        copy(&mut body, &mut io::stdout().lock(), "copy", STDOUT)?;
        return Ok(());
    };
    let bytes = save(body, file, None, "exporting", out)?.bytes;
    let size = super::output::size(bytes);
    out.done(
        &format!("exported {context} to {} ({size})", file.display()),
        || json!({ "file": file, "bytes": bytes }),
    )
}

pub(super) fn import(args: &ImportArgs, global: &Global, out: &Out) -> Result<(), Failure> {
    let (config, _) = settings::load(&args.settings, global, "import")?;
    let input = File::open(&args.file).map_err(|error| {
        let file = args.file.display();
        Failure::failed(&error).advise(format!("the context is to come from {file}"))
    })?;
    is_ours(&global.data_dir)?;
    let input = BufReader::with_capacity(READ_BYTES, input);
    let progress = Progress::begin(out, "importing", None);
    let place = ImportPlace {
        path: &global.data_dir,
        ledger: ledger(&config),
        arrival: arrival(args.trust_stamps),
    };
    let imported = import_into(&place, input);
    drop(progress);
    let imported = imported.map_err(|error| not_restored(&error))?;
    let context = &imported.context;
    let missing = imported.blobs_missing.iter();
    let missing: Vec<_> = missing.map(|blob| (*blob, String::new())).collect();
    let blobs = LeftOut {
        first: &missing,
        count: imported.blobs_missing_count,
    };
    out.done(
        &format!(
            "imported context {} with {} entries",
            context.id, context.entries
        ),
        || {
            json!({
                "id": context.id.to_string(),
                "name": context.name,
                "name_taken": imported.name_taken.as_ref().map(|(name, holder)| {
                    json!({ "name": name, "holder": holder.to_string() })
                }),
                "application": context.application.to_string(),
                "application_installed": imported.is_installed,
                "root": context.root.to_string(),
                "entries": context.entries,
                "blobs_missing": imported.blobs_missing_count,
                "blobs_missing_ids": blobs.ids(),
            })
        },
    )?;
    if let Some((name, holder)) = &imported.name_taken {
        out.say(&format!(
            "its name {name:?} is that of context {holder} here, so it has none and goes by its id: a name is only given to a context that is made or imported; to give it this one, delete both here and import it again"
        ));
    }
    if !imported.is_installed {
        out.say(&format!(
            "its application {} is not installed here, and until it is, with `corelet app install`, calls are refused",
            context.application
        ));
    }
    blobs.say(out, "attached blobs are not here", |blob, _| {
        format!("blob {blob} is attached and not here: upload its content with `corelet blob put`")
    });
    Ok(())
}

/// A copy that is on disk.
struct Saved {
    bytes: u64,
    /// Contexts that are not in it, and why.
    left_out: Vec<(ContextId, String)>,
    /// Blobs that are attached and not in it, and why.
    blobs_left_out: Vec<(BlobId, String)>,
}

/// Saves a copy, compared with its digests.
fn save(
    mut body: impl Read,
    file: &Path,
    keys: Option<&Path>,
    what: &str,
    out: &Out,
) -> Result<Saved, Failure> {
    let progress = Progress::begin(out, what, None);
    let (read, bytes) = keep(file, |mut part| {
        match keys {
            None => {
                copy(&mut body, &mut part, "copy", &file.display().to_string())?;
            }
            Some(keys) => copy_with_keys(body, keys, part)?,
        }
        progress.say("comparing what came".to_owned());
        part.seek(SeekFrom::Start(0))?;
        let reader = BufReader::with_capacity(READ_BYTES, part);
        read_copy(reader).map_err(|error| Failure::failed(&error))
    })?;
    Ok(Saved {
        bytes,
        left_out: read.left_out,
        blobs_left_out: read.blobs_left_out,
    })
}

/// Writes a copy to standard output, and compares it with its digests as it passes by.
fn pour(mut body: impl Read, keys: Option<&Path>, out: &Out) -> Result<Saved, Failure> {
    let _progress = Progress::begin(out, "backing up", None);
    let (reader, pipe) = io::pipe()?;
    let comparing = thread::Builder::new()
        .name("compare".to_owned())
        .spawn(move || read_copy(BufReader::with_capacity(READ_BYTES, reader)))?;
    let mut passing = Passing {
        to: io::stdout().lock(),
        pipe: Some(pipe),
        bytes: 0,
    };
    match keys {
        None => {
            copy(&mut body, &mut passing, "copy", STDOUT)?;
        }
        Some(keys) => copy_with_keys(body, keys, &mut passing)?,
    }
    passing.flush()?;
    let bytes = passing.bytes;
    // Its end, for whoever compares.
    drop(passing);
    let read = comparing.join().expect("reading a copy does not panic");
    let read = read.map_err(|error| {
        Failure::failed(&error).advise("what was written is no backup; throw it away")
    })?;
    Ok(Saved {
        bytes,
        left_out: read.left_out,
        blobs_left_out: read.blobs_left_out,
    })
}

/// Writes what passes to its place, and lets another thread see it.
struct Passing<W> {
    to: W,
    /// Until that thread has seen enough.
    pipe: Option<PipeWriter>,
    bytes: u64,
}

impl<W: Write> Write for Passing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.bytes += count as u64;
        self.pipe
            .take_if(|pipe| pipe.write_all(&bytes[..count]).is_err());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// A server gives its keys to nobody, so they come from the data directory.
fn copy_with_keys(body: impl Read, keys: &Path, part: impl Write) -> Result<(), Failure> {
    let own = Identity::load(keys).map_err(|error| {
        Failure::failed(&error).advise(
            "--with-keys takes them from the data directory: name the server's with --data-dir",
        )
    })?;
    let out = BufWriter::with_capacity(READ_BYTES, part);
    let node = add_keys(body, keys, out).map_err(|error| Failure::failed(&error))?;
    match own.node_id() == node {
        true => Ok(()),
        false => Err(Failure::new(
            Exit::Failed,
            format!(
                "the keys in {} are those of node {}, and the server is node {node}; name its data directory with --data-dir",
                keys.display(),
                own.node_id()
            ),
        )),
    }
}

/// Comes now, and is believed as those who take it in say.
fn arrival(trusts_stamps: bool) -> Arrival {
    #[expect(clippy::disallowed_methods, reason = "no shard runs here")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_micros();
    let now = Hlc::from_micros(u64::try_from(now).unwrap_or(u64::MAX));
    match trusts_stamps {
        true => Arrival::trusting(now),
        false => Arrival::at(now),
    }
}

pub(super) fn restore_backup(
    args: &RestoreArgs,
    global: &Global,
    out: &Out,
) -> Result<(), Failure> {
    let (config, _) = settings::load(&args.settings, global, "restore")?;
    let shards = args.settings.shards.map(shard_count).transpose()?;
    let input: Box<dyn Read + Send> = match args.file.as_os_str() == "-" {
        true => Box::new(io::stdin()),
        false => Box::new(File::open(&args.file).map_err(|error| {
            Failure::failed(&error).advise(format!("the backup is {}", args.file.display()))
        })?),
    };
    let options = RestoreOptions {
        shards,
        component: &component_file,
        ledger: ledger(&config),
        arrival: arrival(args.trust_stamps),
    };
    let progress = Progress::begin(out, "restoring", None);
    let restored = restore(
        BufReader::with_capacity(READ_BYTES, input),
        &global.data_dir,
        &options,
        &mut |contexts| progress.say(format!("{contexts} contexts restored")),
    );
    drop(progress);
    let restored = restored.map_err(|error| not_restored(&error))?;
    let counts = restored.counts;
    let contexts = LeftOut {
        first: &restored.left_out,
        count: counts.left_out,
    };
    contexts.say(
        out,
        "contexts were out of service and not in it",
        |context, why| {
            format!("context {context} is not in the backup, as it was out of service: {why}")
        },
    );
    let blobs = LeftOut {
        first: &restored.blobs_left_out,
        count: counts.blobs_left_out,
    };
    blobs.say(out, "blobs are attached and not in it", |blob, why| {
        format!("blob {blob} is attached and not in the backup: {why}; upload its content again")
    });
    let dir = global.data_dir.display();
    let keys = match restored.has_keys {
        true => "with the node's keys",
        false => {
            "without the node's keys: put the directory `keys` of the node there before a server starts on it"
        }
    };
    out.done(
        &format!(
            "restored {} contexts and {} applications into {} shards at {dir}, {keys}",
            counts.contexts, counts.applications, restored.shards
        ),
        || {
            json!({
                "contexts": counts.contexts,
                "applications": counts.applications,
                "names": counts.names,
                "left_out": counts.left_out,
                "left_out_ids": contexts.ids(),
                "blobs_left_out": counts.blobs_left_out,
                "blobs_left_out_ids": blobs.ids(),
                "shards": restored.shards.get(),
                "node_id": restored.node.to_string(),
                "keys": restored.has_keys,
            })
        },
    )
}

pub(super) fn change_shards(args: &ReshardArgs, global: &Global, out: &Out) -> Result<(), Failure> {
    let (config, _) = settings::load(&args.settings, global, "reshard")?;
    let shards = args.settings.shards.ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            "say how many shards there are to be: --shards N",
        )
    })?;
    let shards = shard_count(shards)?;
    is_ours(&global.data_dir)?;
    let progress = Progress::begin(out, "copying", None);
    let done = reshard(
        &global.data_dir,
        shards,
        &ledger(&config),
        &mut |copied, of| {
            progress.say(format!("{copied} of {of} contexts copied"));
        },
    );
    drop(progress);
    let done = done.map_err(|error| not_resharded(&error))?;
    let told = match done.before == done.now {
        true => format!("there are {} shards already", done.now),
        false => format!(
            "{} shards instead of {}, {} contexts copied",
            done.now, done.before, done.contexts
        ),
    };
    out.done(&told, || {
        json!({
            "before": done.before.get(),
            "shards": done.now.get(),
            "contexts": done.contexts,
        })
    })
}

/// What another user writes into a data directory its owner cannot read: refused as by a server.
fn is_ours(data_dir: &Path) -> Result<(), Failure> {
    match check_own(data_dir) {
        Err(error) if !error.is_absence() => Err(Failure::failed(&error)),
        _ => Ok(()),
    }
}

fn ledger(config: &Config) -> LedgerConfig {
    LedgerConfig {
        map_bytes_max: config.storage.map_bytes_max.0,
        journal_bytes_max: config.storage.journal_bytes_max.0,
        start_check_bytes_max: config.storage.start_check_bytes_max.0,
        ..LedgerConfig::default()
    }
}

fn shard_count(count: u64) -> Result<ShardCount, Failure> {
    let max = corelet_store::SHARDS_MAX;
    u16::try_from(count)
        .ok()
        .and_then(ShardCount::new)
        .ok_or_else(|| Failure::new(Exit::Usage, format!("--shards is a number from 1 to {max}")))
}

fn not_restored(error: &ImportError) -> Failure {
    let store = match error {
        ImportError::Store(error) => Some(error),
        _ => None,
    };
    let failure = Failure::new(exit_of(store), chain(error));
    match error {
        ImportError::FromTheFuture { .. } => failure.advise(
            "if the copy is your own and this clock is right, --trust-stamps takes it in all the same, and the node's stamps go on from those of the copy",
        ),
        _ => failure,
    }
}

fn not_resharded(error: &ExportError) -> Failure {
    let store = match error {
        ExportError::Store(error) | ExportError::Damaged { source: error, .. } => Some(error),
        _ => None,
    };
    let failure = Failure::new(exit_of(store), chain(error));
    match store {
        Some(StoreError::Locked { .. }) => failure.advise("stop the server; nothing was changed"),
        Some(StoreError::NoData { .. }) => failure,
        _ if matches!(error, ExportError::Unfinished { .. }) => failure,
        _ => failure
            .advise("nothing was changed; `corelet check` tells what is damaged, if anything is"),
    }
}

/// A directory that is in use is worth another try.
fn exit_of(error: Option<&StoreError>) -> Exit {
    match error {
        Some(StoreError::Locked { .. }) => Exit::Unavailable,
        _ => Exit::Failed,
    }
}
