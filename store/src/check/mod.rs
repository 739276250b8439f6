//! `corelet check`: every invariant of a data directory, while no server has it open.
//! Nothing on disk is changed: LMDB's file is walked by plain reads first
//! (`data_file/pages.rs`), then opened to read only; the journal is read, and what it has
//! is held against what it goes on from (`journal.rs`), but not replayed, as that writes.
//! What is wrong is told, and the check goes on with the neighbours. Start at
//! [`check`].

mod finding;
mod journal;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

pub use self::finding::Finding;
use self::finding::Findings;
use crate::attachment::each_attached;
use crate::blobs::{Blobs, Checked};
use crate::data_dir::DataDir;
use crate::data_file;
use crate::data_file::pages::{self, Extent, Walked};
use crate::error::StoreError;
use crate::ids::{ApplicationId, ContextId, ShardId};
use crate::journal::{Journal, Mended};
use crate::layout::{self, FORMAT_VERSION, Tables};
use crate::ledger::{engine_error, look_env};
use crate::meta::{self, Meta};
use crate::place::LedgerPlace;
use crate::quarantine::Unwritten;
use crate::snapshot::Snapshot;
use crate::verify::{Listener, Scrubbed, Verified, scrub};

/// So many notes are told one by one.
const NOTES_MAX: usize = 1000;

/// Of a blob that is said to have many lengths, so many are told.
const LENGTHS_TOLD: usize = 3;

/// Names and contexts read from a ledger at a time.
const NAMES_PER_STEP: usize = 1024;

/// What a check has found.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// What the ledgers hold, as of their last checkpoints.
    pub held: Verified,
    /// Calls and deltas in journals, which the next start brings in.
    pub journaled: u64,
    /// Blobs that are whole.
    pub blobs: u64,
    /// Blobs that contexts have attached and that are not here.
    pub blobs_missing: u64,
    /// The applications that are installed. Their components are not the store's.
    pub applications: Vec<ApplicationId>,
    /// What is wrong; none if everything is whole.
    pub findings: Vec<Finding>,
    /// How many findings there are beside these.
    pub findings_left_out: u64,
    /// What is worth knowing and no damage.
    pub notes: Vec<String>,
}

impl CheckReport {
    /// Whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.findings.is_empty()
    }
}

/// How far a check has come, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckProgress {
    shard: Option<ShardId>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Pages(u64),
    Records(u64),
    Contexts(u64, u64),
    Blobs(u64),
}

impl fmt::Display for CheckProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(shard) = self.shard {
            write!(f, "shard {shard}: ")?;
        }
        match self.stage {
            Stage::Pages(pages) => write!(f, "{pages} pages walked"),
            Stage::Records(records) => write!(f, "{records} records read"),
            Stage::Contexts(done, of) => write!(f, "{done} of {of} contexts compared"),
            Stage::Blobs(blobs) => write!(f, "{blobs} blobs read"),
        }
    }
}

/// Checks the data directory at `path`; `tell` hears now and then how far it has come.
/// Takes as long as reading all of it, and memory in proportion to its contexts.
///
/// Fails if it cannot be checked at all: a server has it open, or its manifest is of
/// another format. Whatever is damaged is a finding.
pub fn check(path: &Path, tell: &mut dyn FnMut(CheckProgress)) -> Result<CheckReport, StoreError> {
    let mut findings = Findings::default();
    let mut report = CheckReport::default();
    match DataDir::look(path) {
        Ok(data) => check_data(&data, &mut report, &mut findings, tell),
        Err(error @ (StoreError::Corrupt { .. } | StoreError::ManifestMissing { .. })) => {
            findings.add(None, None, &error);
        }
        Err(error) => return Err(error),
    }
    (report.findings, report.findings_left_out) = findings.into_parts();
    Ok(report)
}

/// The same of a directory that the caller holds, and of which no ledger is open.
pub(crate) fn check_open(data: &DataDir, tell: &mut dyn FnMut(CheckProgress)) -> CheckReport {
    let mut findings = Findings::default();
    let mut report = CheckReport::default();
    check_data(data, &mut report, &mut findings, tell);
    (report.findings, report.findings_left_out) = findings.into_parts();
    report
}

fn check_data(
    data: &DataDir,
    report: &mut CheckReport,
    findings: &mut Findings,
    tell: &mut dyn FnMut(CheckProgress),
) {
    if !data.manifest().are_ledgers_made {
        let note =
            "the first start was cut short before all ledgers were made; the next one goes on";
        report.notes.push(note.to_owned());
        return;
    }
    let mut snapshots = Vec::new();
    for shard in data.manifest().shards.shards() {
        let checked = data
            .ledger_place_to_look(shard)
            .and_then(|place| check_ledger(&place, report, findings, tell));
        let snapshot = checked.unwrap_or_else(|error| {
            findings.add(Some(shard), None, &error);
            None
        });
        snapshots.push(snapshot);
    }
    check_places(data, &snapshots, findings);
    check_names(data, &snapshots, report, findings);
    for snapshot in snapshots.iter().flatten() {
        let applications = snapshot.applications().unwrap_or_default();
        report
            .applications
            .extend(applications.iter().map(|it| it.id));
    }
    check_blobs(data, report, findings, tell);
    check_attached(data, &snapshots, report, findings);
}

/// Checks one ledger by itself. Gives what reads it, unless that could end the process.
fn check_ledger(
    place: &LedgerPlace,
    report: &mut CheckReport,
    findings: &mut Findings,
    tell: &mut dyn FnMut(CheckProgress),
) -> Result<Option<Snapshot>, StoreError> {
    let shard = Some(place.identity().shard);
    data_file::check(&place.data_file())?;
    let mut pages = 0;
    // Which records are damaged is told below, with their contexts.
    let Walked {
        flaws, odd_bits, ..
    } = pages::walk(&place.data_file(), Extent::All, &mut |_| {
        pages += 1;
        if pages % 1024 == 0 {
            let stage = Stage::Pages(pages);
            tell(CheckProgress { shard, stage });
        }
    })?;
    for flaw in &flaws {
        findings.add_page(shard, flaw);
    }
    for odd in &odd_bits {
        findings.add_odd_bit(shard, odd);
    }
    if !flaws.is_empty() || odd_bits.iter().any(|odd| odd.hit.is_of_key()) {
        // LMDB would believe them, and search by that key.
        return Ok(None);
    }
    let env = look_env(place)?;
    let failed = |error| engine_error("read the tables of", error, &env);
    let lacking = || StoreError::corrupt_file("data file", &place.data_file(), "it lacks a table");
    let meta_table = layout::open_meta(&env)
        .map_err(failed)?
        .ok_or_else(lacking)?;
    let format = meta::format(place, &env, meta_table)?;
    if format != FORMAT_VERSION {
        return Err(StoreError::WrongFormat {
            path: place.dir().to_owned(),
            found: format,
            supported: FORMAT_VERSION,
        });
    }
    let tables = Tables::open(&env).map_err(failed)?.ok_or_else(lacking)?;
    let txn = env.clone().static_read_txn().map_err(failed)?;
    let snapshot = Snapshot::new(txn, tables, &Arc::default(), Unwritten::default());
    let meta = Meta {
        place,
        env: &env,
        tables,
    };
    meta.check_identity()?;
    let mut heard = Heard {
        shard: place.identity().shard,
        findings,
        tell,
    };
    let held = scrub(&snapshot, &mut heard);
    // What of this is damaged was told of.
    for out in snapshot.all_quarantined().unwrap_or_default() {
        report.notes.push(format!(
            "shard {}: context {} is out of service ({}); {} acknowledged calls wait until it is put back into service, and are lost if it is deleted",
            place.identity().shard, out.context, out.why, out.aside
        ));
    }
    let Verified {
        contexts,
        entries,
        deltas,
        events,
        answers,
    } = &mut report.held;
    *contexts += held.contexts;
    *entries += held.entries;
    *deltas += held.deltas;
    *events += held.events;
    *answers += held.answers;
    let newest = snapshot.newest_position();
    if let Err(error) = newest.and_then(|newest| meta.check_counters(newest)) {
        findings.add(shard, None, &error);
    }
    let mut journal = Journal::look(place, meta.journal_bytes()?, meta.generation()?)?;
    journal.recover(&place.data_file())?;
    report.journaled += journal::check(&journal, &snapshot, &mut |context, error| {
        findings.add(shard, context, &error);
    })?;
    for &(batch, mended) in journal.mended() {
        let is_last = batch + 1 == journal.batches();
        if is_last && mended == Mended::Payload {
            let shard = place.identity().shard;
            report.notes.push(format!(
                "shard {shard}: the last record of the journal lacks one bit, which the next start puts right: a write was torn there, or the disk has damaged it"
            ));
            continue;
        }
        let why = "bits of it are others than they were written; the next start puts it right";
        let error = StoreError::corrupt("journal record", &batch.to_be_bytes(), why);
        findings.add(shard, None, &error);
    }
    if journal.is_torn() {
        let shard = place.identity().shard;
        report.notes.push(format!(
            "shard {shard}: the last record of the journal is not whole and is left out by the next start: it was torn by a crash, before anybody was told that it is on disk, or damaged since; nothing tells these apart"
        ));
    }
    Ok(Some(snapshot))
}

/// A scrub's findings, with their shard.
struct Heard<'c> {
    shard: ShardId,
    findings: &'c mut Findings,
    tell: &'c mut dyn FnMut(CheckProgress),
}

impl Listener for Heard<'_> {
    fn found(&mut self, context: Option<ContextId>, error: StoreError) {
        self.findings.add(Some(self.shard), context, &error);
    }

    fn passed(&mut self, scrubbed: Scrubbed) {
        let stage = match scrubbed {
            Scrubbed::Records(records) => Stage::Records(records),
            Scrubbed::Contexts(done, of) => Stage::Contexts(done, of),
        };
        let shard = Some(self.shard);
        (self.tell)(CheckProgress { shard, stage });
    }
}

/// Every context lies on the shard that its id hashes to.
fn check_places(data: &DataDir, snapshots: &[Option<Snapshot>], findings: &mut Findings) {
    let count = data.manifest().shards;
    for (shard, snapshot) in count.shards().zip(snapshots) {
        let Some(snapshot) = snapshot else { continue };
        let mut after = None;
        // What cannot be read was told of by the scrub.
        while let Ok(contexts) = snapshot.contexts_found(after, NAMES_PER_STEP) {
            let Some((last, _)) = contexts.last() else {
                break;
            };
            after = Some(*last);
            for context in contexts.into_iter().filter_map(|(_, record)| record.ok()) {
                if ShardId::of(&context.id, count) != shard {
                    let key = context.id.as_bytes();
                    let why = "it belongs to another shard, where nobody finds it";
                    let error = StoreError::corrupt("context record", key, why);
                    findings.add(Some(shard), Some(context.id), &error);
                }
            }
        }
    }
}

/// Every name is its context's, and every context that says a name has it.
fn check_names(
    data: &DataDir,
    snapshots: &[Option<Snapshot>],
    report: &mut CheckReport,
    findings: &mut Findings,
) {
    let count = data.manifest().shards;
    for (shard, snapshot) in count.shards().zip(snapshots) {
        let Some(snapshot) = snapshot else { continue };
        let mut after: Option<Vec<u8>> = None;
        while let Ok(names) = snapshot.names(after.as_deref(), NAMES_PER_STEP) {
            let Some((last, _)) = names.last() else { break };
            after = Some(last.clone());
            for (name, context) in names.into_iter().filter_map(|(_, found)| found.ok()) {
                let owner = ShardId::of(&context, count).number();
                let Some(owner) = snapshots.get(usize::from(owner)).and_then(Option::as_ref) else {
                    continue;
                };
                let wrong = |why| StoreError::corrupt("name record", name.as_bytes(), why);
                match owner.context(&context) {
                    Ok(None) => report.notes.push(format!(
                        "name {name:?} stands for a context that does not exist; the next start frees it"
                    )),
                    Ok(Some(record)) if record.name.as_deref() != Some(&name) => {
                        let error = wrong("its context says that it has another name or none");
                        findings.add(Some(shard), Some(context), &error);
                    }
                    Ok(Some(_)) | Err(_) => {}
                }
            }
        }
        let mut after = None;
        while let Ok(contexts) = snapshot.contexts_found(after, NAMES_PER_STEP) {
            let Some((last, _)) = contexts.last() else {
                break;
            };
            after = Some(*last);
            for context in contexts.into_iter().filter_map(|(_, record)| record.ok()) {
                let Some(name) = &context.name else { continue };
                let is_kept = |keeper: &Snapshot| {
                    // A keeper that cannot be read was told of.
                    keeper.name(name).map_or(true, |id| id == Some(context.id))
                };
                let is_known = snapshots.iter().any(|it| it.as_ref().is_none_or(is_kept));
                if !is_known {
                    let key = context.id.as_bytes();
                    let why = "its name is not in the directory, or stands for another";
                    let error = StoreError::corrupt("context record", key, why);
                    findings.add(Some(shard), Some(context.id), &error);
                }
            }
        }
    }
}

fn check_blobs(
    data: &DataDir,
    report: &mut CheckReport,
    findings: &mut Findings,
    tell: &mut dyn FnMut(CheckProgress),
) {
    let mut check = Blobs::look(data.blobs_dir());
    loop {
        match check.step() {
            Ok(None) => break,
            Ok(Some(Checked::Part { .. })) => {}
            Ok(Some(Checked::Whole { .. })) => {
                report.blobs += 1;
                tell(CheckProgress {
                    shard: None,
                    stage: Stage::Blobs(report.blobs),
                });
            }
            Ok(Some(Checked::Unsound { blob, error })) => findings.add_blob(&blob, &error),
            Ok(Some(Checked::Foreign { path })) => report.notes.push(format!(
                "{} is no blob and lies among them; nobody needs it",
                path.display()
            )),
            // The next step goes on behind what cannot be read.
            Err(error) => findings.add_files(&error),
        }
    }
}

/// Every blob that a context has attached is here, with a length that is said of it. Where
/// one is not that may be as it should: what other nodes attach comes before its content.
fn check_attached(
    data: &DataDir,
    snapshots: &[Option<Snapshot>],
    report: &mut CheckReport,
    findings: &mut Findings,
) {
    let snapshots: Vec<&Snapshot> = snapshots.iter().flatten().collect();
    let blobs = Blobs::look(data.blobs_dir());
    let mut untold = 0_u64;
    let each = each_attached(&snapshots, &mut |blob, lengths| {
        let found = match blobs.entry(blob) {
            Ok(found) => found,
            Err(error) => {
                findings.add_blob(&blob, &error);
                return Ok(());
            }
        };
        let said: Vec<String> = lengths
            .iter()
            .take(LENGTHS_TOLD)
            .map(u64::to_string)
            .collect();
        let said = said.join(" or ");
        let note = match found.map(|found| found.bytes) {
            None => {
                report.blobs_missing += 1;
                format!(
                    "blob {blob} of {said} bytes is attached and not here: another node's content may not have come yet; otherwise upload it again, or take it from a backup"
                )
            }
            // What is no blob by its length was told of when it was read.
            Some(Some(bytes)) if !lengths.contains(&bytes) => {
                format!("blob {blob} has {bytes} bytes, and was attached as one of {said}")
            }
            Some(_) => return Ok(()),
        };
        match report.notes.len() < NOTES_MAX {
            true => report.notes.push(note),
            false => untold += 1,
        }
        Ok::<_, StoreError>(())
    });
    if untold > 0 {
        let note = format!("{untold} more blobs are attached and not here, or have another length");
        report.notes.push(note);
    }
    if let Err(error) = each {
        findings.add(None, None, &error);
    }
}
