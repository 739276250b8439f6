//! An export of a context to a file and its import into another ledger, each against a plain
//! copy of the same bytes through LMDB. All three end with the bytes on disk.

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use corelet_store::{ExportScope, Hlc, LedgerConfig, Op, export_context, import_context};

use crate::Plan;
use crate::ledger::{Bench, open};
use crate::report::{at_least, fact, median};

/// Bytes of an entry's value.
const VALUES: [usize; 3] = [100, 1_000, 10_000];

/// Bytes of values that a call writes while the context is filled.
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
        let ops = keys.iter().map(|key| entry(*key, value_bytes)).collect();
        let call = source.call(place, ops);
        source.commit(vec![call])?;
    }
    let (mut exports, mut imports, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..plan.rounds {
        let at = |what: &str| plan.dir.join(format!("{name}-{what}-{round}"));
        let file = at("file");
        let began = Instant::now();
        // Without the log, which has every value once more.
        let scope = ExportScope {
            private: true,
            log: false,
        };
        let out = BufWriter::new(File::create(&file)?);
        export_context(&source.snapshot()?, &place.id(), scope, out)?;
        File::open(&file)?.sync_all()?;
        let exported = began.elapsed();
        let bytes = file.metadata()?.len();
        let target = open(&at("target"), &LedgerConfig::default())?;
        let began = Instant::now();
        import_context(&target, BufReader::new(File::open(&file)?), Hlc::MAX)?;
        let imported = began.elapsed();
        let plain = plain_copy(&file, &at("plain"), value_bytes)?;
        exports.push(plain.as_secs_f64() / exported.as_secs_f64());
        imports.push(plain.as_secs_f64() / imported.as_secs_f64());
        let rate = |took: Duration| bytes as f64 / took.as_secs_f64() / 1e6;
        rates.push([exported, imported, plain].map(rate));
        drop(target);
        std::fs::remove_dir_all(at("target"))?;
        std::fs::remove_dir_all(at("plain"))?;
        std::fs::remove_file(file)?;
    }
    let what = format!("{entries} entries of {value_bytes} bytes");
    let over = "rate over that of a plain copy through LMDB";
    at_least(format!("export of {what}, {over}"), median(exports), 0.5);
    at_least(format!("import of {what}, {over}"), median(imports), 0.5);
    let [export, import, plain] =
        [0, 1, 2].map(|at| median(rates.iter().map(|rates| rates[at]).collect()));
    fact(
        format!("copies of {what}"),
        format!("export {export:.0} MB/s, import {import:.0} MB/s, plain copy {plain:.0} MB/s"),
    );
    Ok(())
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
