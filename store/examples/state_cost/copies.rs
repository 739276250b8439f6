//! An export of a context to a file and its import into another ledger, each against a plain
//! copy of the same bytes through LMDB. All three end with the bytes on disk. With its log, as backups
//! and exports of a server have it unless that is left out, a context is copied twice over: what each
//! delta wrote, and what became of it.

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use corelet_store::{Arrival, ExportScope, Hlc, LedgerConfig, Op, export_context, import_context};

use crate::Plan;
use crate::ledger::{Bench, Place, open};
use crate::report::{at_least, fact, median};

/// Bytes of an entry's value.
const VALUES: [usize; 3] = [100, 1_000, 10_000];

/// Bytes of values between two checkpoints while the context is filled.
const FILL_BYTES: usize = 4 << 20;

/// Bytes after which the plain copy is made durable, as an import is.
const STEP_BYTES: usize = 16 << 20;

pub(crate) fn measure(plan: &Plan) -> Result<(), Box<dyn Error>> {
    VALUES
        .into_iter()
        .try_for_each(|value_bytes| compare(plan, value_bytes))
}

fn compare(plan: &Plan, value_bytes: usize) -> Result<(), Box<dyn Error>> {
    let name = format!("copied-{value_bytes}");
    let mut source = Bench::new(&plan.dir, &name)?;
    let place = source.create()?;
    let entries = plan.copied_bytes / value_bytes;
    let keys: Vec<usize> = (0..entries).collect();
    for keys in keys.chunks((FILL_BYTES / (value_bytes + 200)).max(1)) {
        let ops = keys.iter().map(|key| entry(*key, value_bytes));
        // Each is a call of its own, so that the log has as many deltas as there are entries.
        let calls = ops.map(|op| source.call(place, vec![op])).collect();
        source.commit(calls)?;
    }
    for log in [true, false] {
        let name = format!("{name}-{}", if log { "all" } else { "state" });
        let scope = ExportScope { private: true, log };
        let how = match log {
            true => "with its log",
            false => "without its log",
        };
        let what = format!("{entries} entries of {value_bytes} bytes {how}");
        eprintln!("state_cost: copies: {what}");
        copy(plan, &source, place, scope, &name, value_bytes)?.report(&what);
    }
    Ok(())
}

/// What copies came to, in each round.
#[derive(Default)]
struct Copies {
    /// Over the rate of the plain copy.
    exports: Vec<f64>,
    imports: Vec<f64>,
    /// Of export, import and plain copy: bytes of the file, per second in millions.
    rates: Vec<[f64; 3]>,
}

impl Copies {
    fn report(self, what: &str) {
        let over = "rate over that of a plain copy through LMDB";
        at_least(
            format!("export of {what}, {over}"),
            median(self.exports),
            0.5,
        );
        at_least(
            format!("import of {what}, {over}"),
            median(self.imports),
            0.5,
        );
        let rate = |at: usize| median(self.rates.iter().map(|rates| rates[at]).collect());
        let [export, import, plain] = [0, 1, 2].map(rate);
        fact(
            format!("copies of {what}"),
            format!("export {export:.0} MB/s, import {import:.0} MB/s, plain copy {plain:.0} MB/s"),
        );
    }
}

fn copy(
    plan: &Plan,
    source: &Bench,
    place: Place,
    scope: ExportScope,
    name: &str,
    value_bytes: usize,
) -> Result<Copies, Box<dyn Error>> {
    let mut copies = Copies::default();
    for round in 0..plan.rounds {
        let at = |what: &str| plan.dir.join(format!("{name}-{what}-{round}"));
        let file = at("file");
        let began = Instant::now();
        let out = BufWriter::new(File::create(&file)?);
        export_context(&source.snapshot()?, &place.id(), scope, out)?;
        File::open(&file)?.sync_all()?;
        let exported = began.elapsed();
        let bytes = file.metadata()?.len();
        let target = open(&at("target"), &LedgerConfig::default())?;
        let began = Instant::now();
        import_context(
            &target,
            BufReader::new(File::open(&file)?),
            Arrival::trusting(Hlc::ZERO),
        )?;
        let imported = began.elapsed();
        let plain = plain_copy(&file, &at("plain"), value_bytes)?;
        let over_plain = |took: Duration| plain.as_secs_f64() / took.as_secs_f64();
        copies.exports.push(over_plain(exported));
        copies.imports.push(over_plain(imported));
        let rate = |took: Duration| bytes as f64 / took.as_secs_f64() / 1e6;
        copies.rates.push([exported, imported, plain].map(rate));
        drop(target);
        std::fs::remove_dir_all(at("target"))?;
        std::fs::remove_dir_all(at("plain"))?;
        std::fs::remove_file(file)?;
    }
    Ok(copies)
}

fn entry(key: usize, value_bytes: usize) -> Op {
    let value = key.to_le_bytes().into_iter().cycle().take(value_bytes);
    Op::set(
        Bytes::from(format!("key-{key:012}")),
        value.collect::<Vec<u8>>().into(),
    )
}

/// Puts the bytes of a file into LMDB in ascending order of keys, as records of the size
/// of the entries.
fn plain_copy(file: &Path, dir: &Path, value_bytes: usize) -> Result<Duration, Box<dyn Error>> {
    let (env, table) = crate::ledger::plain_table(dir)?;
    let began = Instant::now();
    let mut txn = env.write_txn()?;
    let mut input = BufReader::with_capacity(1 << 20, File::open(file)?);
    let mut value = vec![0; value_bytes];
    let (mut key, mut step) = (0_u64, 0);
    loop {
        let read = input.read(&mut value)?;
        if read == 0 {
            break;
        }
        let name = format!("key-{key:012}");
        table.put_with_flags(
            &mut txn,
            heed::PutFlags::APPEND,
            name.as_bytes(),
            &value[..read],
        )?;
        key += 1;
        step += read;
        if step >= STEP_BYTES {
            txn.commit()?;
            txn = env.write_txn()?;
            step = 0;
        }
    }
    txn.commit()?;
    Ok(began.elapsed())
}
