//! `corelet check`: is everything in a data directory what it was written as?

use std::fs::File;
use std::io::Read;
use std::path::Path;

use corelet_net::{Identity, IdentityError};
use corelet_shard::component_file;
use corelet_store::{CheckReport, DataDir, Finding, StoreError, check};
use serde::Serialize;

use super::args::Global;
use super::failure::{Exit, Failure};
use super::output::{Out, shell};
use super::progress::Progress;

/// Bytes of a component that are hashed at a time.
const PART_BYTES: usize = 256 << 10;

/// The document for scripts.
#[derive(Serialize)]
struct Document {
    whole: bool,
    contexts: u64,
    entries: u64,
    deltas: u64,
    events: u64,
    journaled: u64,
    applications: u64,
    blobs: u64,
    blobs_missing: u64,
    findings: Vec<Found>,
    findings_left_out: u64,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Found {
    shard: Option<u16>,
    context: Option<String>,
    what: String,
    key: String,
    why: String,
    advice: String,
}

impl From<&Finding> for Found {
    fn from(finding: &Finding) -> Found {
        Found {
            shard: finding.shard,
            context: finding.context.map(|context| context.to_string()),
            what: finding.what.clone(),
            key: finding.key.clone(),
            why: finding.why.clone(),
            advice: finding.advice.to_owned(),
        }
    }
}

pub(super) fn run(global: &Global, out: &Out) -> Result<(), Failure> {
    let dir = &global.data_dir;
    let progress = Progress::begin(out, "checking", None);
    let report = check(dir, &mut |passed| progress.say(passed.to_string()));
    let report = report.map_err(|error| unchecked(&error))?;
    progress.say("comparing components".to_owned());
    let mut findings: Vec<Found> = report.findings.iter().map(Found::from).collect();
    findings.extend(components(dir, &report));
    let mut report = report;
    match key(dir)? {
        Key::Right => {}
        Key::Absent(note) => report.notes.push(note),
        Key::Wrong(found) => findings.push(found),
    }
    drop(progress);
    tell(report, findings, out)
}

fn tell(report: CheckReport, findings: Vec<Found>, out: &Out) -> Result<(), Failure> {
    let rows: Vec<Vec<String>> = findings
        .iter()
        .map(|it| {
            let shard = it.shard.map(|shard| shard.to_string()).unwrap_or_default();
            let context = it.context.clone().unwrap_or_default();
            let (what, key) = (it.what.clone(), it.key.clone());
            vec![shard, context, what, key, it.why.clone(), it.advice.clone()]
        })
        .collect();
    let count = findings.len() as u64 + report.findings_left_out;
    let held = report.held;
    let document = Document {
        whole: count == 0,
        contexts: held.contexts,
        entries: held.entries,
        deltas: held.deltas,
        events: held.events,
        journaled: report.journaled,
        applications: report.applications.len() as u64,
        blobs: report.blobs,
        blobs_missing: report.blobs_missing,
        findings,
        findings_left_out: report.findings_left_out,
        notes: report.notes,
    };
    if !out.is_json() {
        document.notes.iter().for_each(|note| out.say(note));
    }
    if document.whole {
        let told = format!(
            "whole: {} contexts with {} entries, {} deltas and {} events; {} more calls in journals",
            held.contexts, held.entries, held.deltas, held.events, document.journaled
        );
        return out.text(&told, || document);
    }
    let headings = ["shard", "context", "what", "key", "why", "what to do"];
    out.rows(&headings, rows, &document)?;
    Err(Failure::new(
        Exit::Failed,
        format!("the data directory is damaged: {count} findings"),
    ))
}

/// Every application that is installed has its component.
fn components<'r>(dir: &'r Path, report: &'r CheckReport) -> impl Iterator<Item = Found> + 'r {
    report.applications.iter().filter_map(|application| {
        let path = DataDir::blobs_dir_in(dir).join(component_file(application));
        let why = match hash(&path) {
            Ok(found) if found == *application.as_bytes() => return None,
            Ok(_) => "it is another than the one that was installed".to_owned(),
            Err(error) => error.to_string(),
        };
        Some(Found {
            shard: None,
            context: None,
            what: "component".to_owned(),
            key: path.display().to_string(),
            why,
            advice: "install the application again, from the same file".to_owned(),
        })
    })
}

fn hash(path: &Path) -> std::io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut part = vec![0; PART_BYTES];
    loop {
        match file.read(&mut part)? {
            0 => return Ok(*hasher.finalize().as_bytes()),
            read => hasher.update(&part[..read]),
        };
    }
}

/// What there is of the node's key.
enum Key {
    Right,
    /// A restored directory waits for it.
    Absent(String),
    Wrong(Found),
}

/// Whether the key is the one of the node whose data it is.
fn key(dir: &Path) -> Result<Key, Failure> {
    let keys = dir.join("keys");
    let found = |why: String, advice: &str| {
        Key::Wrong(Found {
            shard: None,
            context: None,
            what: "node's key".to_owned(),
            key: keys.display().to_string(),
            why,
            advice: advice.to_owned(),
        })
    };
    let put_back = "put back the keys' directory that belongs to this data directory";
    let Ok(node) = DataDir::node_of(dir) else {
        // What is wrong with the manifest was told already.
        return Ok(Key::Right);
    };
    Ok(match Identity::load(&keys) {
        Ok(identity) if identity.node_id() == node => Key::Right,
        Err(error) if error.is_absent() => Key::Absent(format!(
            "the key of node {node} is not in {}: put it there before a server starts",
            keys.display()
        )),
        Ok(identity) => {
            let other = identity.node_id();
            let why = format!("it is the one of node {other}, and the data is of {node}");
            found(why, put_back)
        }
        Err(IdentityError::TooOpen { path, mode }) => found(
            format!("it can be read by others (mode {mode:o})"),
            &format!("run chmod 600 {}", shell(&path.display().to_string())),
        ),
        Err(IdentityError::Malformed {
            found: bytes,
            expected,
            ..
        }) => found(
            format!("it is no key: it has {bytes} bytes instead of {expected}"),
            put_back,
        ),
        Err(error) => found(
            crate::refusal::chain(&error),
            "see that it can be read, or put back the keys' directory that belongs to this data directory",
        ),
    })
}

/// What cannot be checked is not damaged.
fn unchecked(error: &StoreError) -> Failure {
    let exit = match error {
        StoreError::Locked { .. } => Exit::Unavailable,
        _ => Exit::Failed,
    };
    let failure = Failure::new(exit, crate::refusal::chain(error));
    match error {
        StoreError::Locked { .. } => {
            failure.advise("a check reads what nobody writes: stop the server, or check a backup that was restored")
        }
        _ => failure,
    }
}
