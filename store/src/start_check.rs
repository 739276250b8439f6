//! What a ledger is looked over for when it is opened, before anything is served from it. Its
//! pages, before LMDB believes them: a ledger whose pages lead elsewhere is refused. Its
//! records: one of which a single bit is another is put right in its place, and of any other that
//! is damaged the context goes out of service. Called by `ledger.rs`; how pages are walked is in
//! `data_file/pages.rs`, and what comes to be damaged later is the scrub's to find.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::change::Change;
use crate::data_file::pages::{self, Extent, Harm, OddBit, Passed};
use crate::error::{Refused, StoreError};
use crate::ids::ContextId;
use crate::ledger::{Ledger, is_out_of_space};
use crate::place::LedgerPlace;
use crate::quarantine::Quarantined;
use crate::scrub::{Damage, Scrub, Scrubbed};
use crate::step::StepBounds;
use crate::verify::{self, Listener};

/// Damage of no context of which so much is logged.
const TOLD_MAX: usize = 64;

/// How far a ledger was read is told so often.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Pages between two looks at the clock.
const PAGES_PER_LOOK: u64 = 256;

/// Records between two looks at the clock; in tests some, so that there are several steps.
const READ_AT_ONCE: StepBounds = StepBounds {
    rows_max: if cfg!(test) { 16 } else { 1 << 18 },
    bytes_max: 256 << 20,
};

/// What was looked over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LookedOver {
    /// Whether records are damaged, so that contexts have to go out of service.
    pub(crate) has_damage: bool,
    /// Whether keys were put right, and what that leads to was not compared yet: a record that was
    /// written or removed while nobody found the one under its key may be back as it was.
    pub(crate) has_keys_put_right: bool,
    /// How much was read, if anything.
    pub(crate) read: Option<Extent>,
}

impl LookedOver {
    /// Whether there was too much to read all records.
    pub(crate) fn is_left_unread(&self) -> bool {
        self.read == Some(Extent::Branches)
    }

    /// Whether the rest is to be compared, to find out whose the damage is: of a ledger that may not be read as a
    /// whole before it is served, it is not.
    pub(crate) fn leads_on(&self) -> bool {
        self.read == Some(Extent::All) && (self.has_damage || self.has_keys_put_right)
    }
}

/// Looks over the file of a ledger, which nobody has open. If it has more than `bytes_max`, only
/// the pages that lead to records are read; with 0 nothing is.
pub(crate) fn look_over(place: &LedgerPlace, bytes_max: u64) -> Result<LookedOver, StoreError> {
    if bytes_max == 0 {
        return Ok(LookedOver {
            has_damage: false,
            has_keys_put_right: are_keys_unverified(place, None),
            read: None,
        });
    }
    let path = &place.data_file();
    // While this process writes to it, what is read here and there does not fit together.
    let dir = place.dir().canonicalize();
    let dir = dir.map_err(StoreError::file("look for", place.dir()))?;
    if heed::env_closing_event(&dir).is_some() {
        return Err(StoreError::AlreadyOpen {
            path: place.dir().to_owned(),
        });
    }
    let bytes = fs::metadata(path).map_err(StoreError::file("read the size of", path))?;
    let extent = match bytes.len() <= bytes_max {
        true => Extent::All,
        false => Extent::Branches,
    };
    if extent == Extent::Branches {
        tracing::info!(path = %path.display(), bytes = bytes.len(), bytes_max, "the ledger has more than storage.start_check_bytes_max: only the pages that lead to its records are read before it is served; the records themselves are read by the collector, or where somebody needs them");
    }
    let mut progress = Progress::of(path);
    let mut walked = pages::walk(path, extent, &mut |passed| progress.passed(passed))?;
    let mut lethal = walked.flaws.iter().filter(|flaw| flaw.harm == Harm::Engine);
    if let Some(flaw) = lethal.next() {
        return Err(StoreError::DamagedPages {
            path: path.to_owned(),
            page: flaw.page,
            why: flaw.why,
            others: lethal.count(),
        });
    }
    if let Some(flaw) = walked.flaws.first() {
        tracing::warn!(path = %path.display(), page = flaw.page, why = flaw.why, pages = walked.flaws.len(), "pages of the ledger are not used any more");
    }
    if walked.odd_bits.iter().any(|odd| odd.hit.is_of_key()) {
        match note_unverified(place) {
            Err(error @ StoreError::DiskFull { .. }) if walked.leave_keys() => {
                tracing::warn!(%error, path = %path.display(), "there is no room to note that keys of the ledger are put right, so they are left as they are: their contexts are out of service");
            }
            noted => noted?,
        }
    }
    put_right(path, &walked.odd_bits).map_err(StoreError::file("put a bit right in", path))?;
    Ok(LookedOver {
        has_damage: walked.records_damaged > 0,
        has_keys_put_right: are_keys_unverified(place, Some(extent)),
        read: Some(extent),
    })
}

/// Whether keys were put right, by this start or an earlier one, with which nothing was compared since.
fn are_keys_unverified(place: &LedgerPlace, read: Option<Extent>) -> bool {
    let is_noted = place.unverified().exists();
    if is_noted && read != Some(Extent::All) {
        tracing::warn!(path = %place.unverified().display(), "keys of the ledger were put right, and what that leads to is not compared, as storage.start_check_bytes_max keeps the start from reading all of it: a record that was removed or written anew before may be back as it was; raise that bound for one start");
    }
    is_noted
}

/// How far a ledger was read, told now and then if it takes long.
struct Progress<'p> {
    path: &'p Path,
    pages: u64,
    told: Instant,
}

impl Progress<'_> {
    fn of(path: &Path) -> Progress<'_> {
        Progress {
            path,
            pages: 0,
            told: Instant::now(),
        }
    }

    fn passed(&mut self, passed: Passed) {
        let Passed::Page(_) = passed else { return };
        self.pages += 1;
        if self.pages.is_multiple_of(PAGES_PER_LOOK) {
            self.tell("pages read", self.pages);
        }
    }

    fn tell(&mut self, stage: &'static str, done: u64) {
        if self.told.elapsed() >= PROGRESS_EVERY {
            self.told = Instant::now();
            tracing::info!(path = %self.path.display(), stage, done, "the ledger is being looked over");
        }
    }
}

/// Leaves word that keys are about to be put right, so that a start that is cut short before all was compared
/// with them does not hide that from the next: without it no key is put right.
fn note_unverified(place: &LedgerPlace) -> Result<(), StoreError> {
    #[cfg(test)]
    if tests::IS_DISK_FULL.get() {
        let source = std::io::ErrorKind::StorageFull.into();
        return Err(StoreError::DiskFull { source });
    }
    let path = &place.unverified();
    let noted = File::create(path)
        .and_then(|file| file.sync_all())
        .and_then(|()| File::open(place.dir())?.sync_all());
    noted.map_err(|source| match is_out_of_space(&source) {
        true => StoreError::DiskFull { source },
        false => StoreError::file("write", path)(source),
    })
}

/// All was compared with the keys that were put right.
fn forget_unverified(place: &LedgerPlace) -> Result<(), StoreError> {
    let path = &place.unverified();
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Gives records the bits that they were written with. If this is cut short, the next start goes
/// on: each bit counts by itself.
fn put_right(path: &Path, odd_bits: &[OddBit]) -> std::io::Result<()> {
    if odd_bits.is_empty() {
        return Ok(());
    }
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    for odd in odd_bits {
        let OddBit {
            page, byte, mask, ..
        } = *odd;
        let mut found = [0];
        file.read_exact_at(&mut found, byte)?;
        file.write_all_at(&[found[0] ^ mask], byte)?;
        tracing::warn!(path = %path.display(), page, byte, mask, "a bit of a record was another than it was written, as its checksum tells; it is put right");
    }
    file.sync_data()
}

/// Looks whose everything is that is damaged, or does not fit to keys that were put right, and takes
/// these contexts out of service, durably. Where the disk or the map has no room for that, they are
/// given: who serves the ledger keeps them out of service. Reads the whole ledger, unless
/// all that is damaged is out of service already.
pub(crate) fn put_out_of_service(
    place: &LedgerPlace,
    ledger: &Ledger,
    looked: &LookedOver,
) -> Result<Vec<(ContextId, String)>, StoreError> {
    let PutOut {
        unwritten,
        is_verified,
    } = find_and_put_out(ledger, looked)?;
    if is_verified {
        let path = place.dir().display();
        let has_keys_put_right = looked.has_keys_put_right;
        tracing::info!(%path, has_keys_put_right, "everything in the ledger was compared, as damage was found that no earlier start has looked into, or keys were put right");
    }
    if looked.has_keys_put_right && unwritten.is_empty() {
        forget_unverified(place)?;
    }
    Ok(unwritten)
}

/// What has become of contexts with damage.
#[derive(Debug, Default)]
struct PutOut {
    /// Those of which it could not be written down.
    unwritten: Vec<(ContextId, String)>,
    /// Whether everything was compared with everything, to find out whose damage is.
    is_verified: bool,
}

fn find_and_put_out(ledger: &Ledger, looked: &LookedOver) -> Result<PutOut, StoreError> {
    let mut progress = Progress::of(ledger.shared.env.path());
    let round = read_all(ledger, &mut progress)?;
    if !round.derived.is_empty() {
        for derived in &round.derived {
            tracing::warn!(error = %derived.error, "a record that is worked out from others is damaged; it is worked out again");
        }
        let mut writer = ledger.writer();
        let dropped = writer.drop_derived(&round.derived);
        match dropped.and_then(|_| writer.checkpoint()) {
            // The collector finds it again.
            Err(error) if is_lack_of_room(&error) => {
                tracing::warn!(%error, "what is to be worked out again stays damaged");
            }
            dropped => dropped?,
        }
    }
    let snapshot = ledger.snapshot()?;
    let mut found = Found {
        contexts: BTreeMap::new(),
        told: 0,
        progress,
    };
    let mut are_all_known = !looked.has_keys_put_right;
    let out = snapshot.all_quarantined()?;
    let mut of_nobody = Vec::new();
    for Damage {
        slot,
        context,
        error,
    } in round.damaged
    {
        let context = match (context, slot) {
            (None, Some(slot)) => snapshot.context_in(slot, usize::MAX)?,
            (context, _) => context,
        };
        match context {
            Some(context) => are_all_known &= out.iter().any(|out| out.context == context),
            None => of_nobody.push(error.to_string()),
        }
        found.found(context, error);
    }
    let is_seen =
        of_nobody.is_empty() || snapshot.damage_seen()? == Some(digest_of(&of_nobody, &out));
    if are_all_known && is_seen {
        if !of_nobody.is_empty() {
            tracing::warn!(
                records = of_nobody.len(),
                "damage that belongs to no context was looked into by an earlier start"
            );
        }
        return Ok(PutOut::default());
    }
    // Whose a record was of which the key is another, tells what lacks it.
    verify::scrub(&snapshot, &mut found);
    drop(snapshot);
    found
        .contexts
        .retain(|context, _| out.iter().all(|out| out.context != *context));
    let changes = found.contexts.iter().map(|(context, why)| {
        tracing::error!(%context, %why, "a record of a context is damaged; it is out of service");
        Change::Quarantine {
            context: *context,
            why: Some(why.clone()),
        }
    });
    let changes: Vec<Change> = changes.collect();
    let verdicts = match ledger.commit(changes) {
        Err(error) if is_lack_of_room(&error) => {
            tracing::error!(%error, contexts = found.contexts.len(), "that contexts are out of service could not be written down; they are until the server ends, and the next start looks again");
            return Ok(PutOut {
                unwritten: found.contexts.into_iter().collect(),
                is_verified: true,
            });
        }
        verdicts => verdicts?,
    };
    for verdict in verdicts {
        match verdict {
            Ok(_) => {}
            // Nothing says in which slot it is, so nobody finds it.
            Err(error @ Refused::Damaged { .. }) => {
                tracing::error!(%error, "that a context is out of service could not be written down");
            }
            Err(error) => {
                tracing::warn!(%error, "a context with damage cannot be put out of service");
            }
        }
    }
    if !of_nobody.is_empty() {
        let out = ledger.snapshot()?.all_quarantined()?;
        let mut writer = ledger.writer();
        let noted = writer.note_damage_seen(digest_of(&of_nobody, &out));
        match noted.and_then(|()| writer.checkpoint()) {
            Err(error) if is_lack_of_room(&error) => {
                tracing::warn!(%error, "the next start looks into this damage again");
            }
            noted => noted?,
        }
    }
    Ok(PutOut {
        unwritten: Vec::new(),
        is_verified: true,
    })
}

/// A whole round of the scrub.
fn read_all(ledger: &Ledger, progress: &mut Progress<'_>) -> Result<Scrubbed, StoreError> {
    let snapshot = ledger.snapshot()?;
    let mut scrub = Scrub::default();
    let mut round = scrub.step(&snapshot, &READ_AT_ONCE)?;
    while !round.is_round_over {
        progress.tell("records read", round.rows);
        let step = scrub.step(&snapshot, &READ_AT_ONCE)?;
        round.rows += step.rows;
        round.damaged.extend(step.damaged);
        round.derived.extend(step.derived);
        round.is_round_over = step.is_round_over;
    }
    Ok(round)
}

/// By which damage of no context is known again, as long as the same contexts are out of service: one that was put
/// back is looked at anew.
fn digest_of(of_nobody: &[String], out: &[Quarantined]) -> [u8; 32] {
    let mut digest = blake3::Hasher::new();
    for error in of_nobody {
        digest.update(&(error.len() as u64).to_le_bytes());
        digest.update(error.as_bytes());
    }
    for out in out {
        digest.update(out.context.as_bytes());
    }
    *digest.finalize().as_bytes()
}

fn is_lack_of_room(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::DiskFull { .. } | StoreError::MapFull { .. }
    )
}

/// Contexts with damage, and the first of it.
struct Found<'p> {
    contexts: BTreeMap<ContextId, String>,
    told: usize,
    progress: Progress<'p>,
}

impl Listener for Found<'_> {
    fn found(&mut self, context: Option<ContextId>, error: StoreError) {
        if let Some(context) = context {
            let why = || error.to_string();
            self.contexts.entry(context).or_insert_with(why);
            return;
        }
        self.told += 1;
        if self.told <= TOLD_MAX {
            tracing::error!(%error, "a damaged record, of which nothing says to which context it belongs");
        }
    }

    fn passed(&mut self, passed: verify::Scrubbed) {
        match passed {
            verify::Scrubbed::Records(done) => self.progress.tell("records compared", done),
            verify::Scrubbed::Contexts(done, _) => self.progress.tell("contexts compared", done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    use bytes::Bytes;

    use crate::change::Op;
    use crate::data_dir::DataDir;
    use crate::fixture::{alter, call, create, flip, id, open, two};
    use crate::ids::{ShardCount, ShardId};
    use crate::layout::{position_key, slot_key};

    const DAMAGED: LookedOver = LookedOver {
        has_damage: true,
        has_keys_put_right: false,
        read: Some(Extent::All),
    };

    thread_local! {
        /// No disk can be filled by a unit test.
        pub(super) static IS_DISK_FULL: Cell<bool> = const { Cell::new(false) };
    }

    /// As where there is no room to note that it is put right.
    #[test]
    fn a_key_is_left_as_it_is_unless_its_page_is_out_of_order_by_it() {
        let (dir, ledger, [_, slot]) = two();
        let keys = [&b"zz-b"[..], b"zz-d", b"zz-f"];
        let ops = keys.map(|key| Op::set(Bytes::from_static(key), Bytes::from_static(b"value")));
        let call = Change::Call(call(2, slot, 100, ops.into()));
        ledger.commit(vec![call]).unwrap().remove(0).unwrap();
        drop(ledger);
        let shard = ShardId::new(0, ShardCount::new(1).unwrap()).unwrap();
        let place = DataDir::look(dir.path()).unwrap().ledger_place(shard);
        let path = place.data_file();
        let whole = fs::read(&path).unwrap();
        let needle = [&slot_key(slot)[..], b"zz-d"].concat();
        let places = (0..whole.len()).filter(|at| whole[*at..].starts_with(&needle));
        let places: Vec<usize> = places.collect();
        for (mask, is_left) in [(0x01, true), (0x04, false)] {
            let mut bytes = whole.clone();
            for at in &places {
                bytes[at + needle.len() - 1] ^= mask;
            }
            fs::write(&path, &bytes).unwrap();
            IS_DISK_FULL.set(true);
            let looked = look_over(&place, u64::MAX);
            IS_DISK_FULL.set(false);
            assert!(fs::read(&path).unwrap() == bytes, "it is left as it is");
            match looked {
                Ok(looked) => assert!(is_left && looked.has_damage && looked.leads_on()),
                Err(StoreError::DiskFull { .. }) => assert!(!is_left),
                Err(other) => panic!("{other}"),
            }
            let mut walked = pages::walk(&path, Extent::All, &mut |_| {}).unwrap();
            assert_eq!(walked.flaws, []);
            assert_eq!((walked.odd_bits.len(), walked.records_damaged), (1, 0));
            assert_eq!(walked.leave_keys(), is_left);
            assert_eq!(walked.odd_bits.is_empty(), is_left);
            assert_eq!(walked.records_damaged, u64::from(is_left));
        }
    }

    /// As where the disk has no room.
    #[test]
    fn what_is_out_of_service_without_a_record_of_that_is_so_for_all_who_read() {
        let (_dir, mut ledger, [bad, _]) = two();
        let entry = [&slot_key(bad)[..], &[7]].concat();
        flip(&ledger, |tables| tables.entries, &entry);
        let unwritten = vec![(id(1), "damage".to_owned())];
        ledger.keep_out_of_service(unwritten).unwrap();
        let snapshots = [ledger.snapshot().unwrap()];
        let [snapshot] = &snapshots;
        let found = snapshot.quarantined(bad).unwrap().unwrap();
        assert_eq!((found.context, &found.why[..]), (id(1), "damage"));
        assert_eq!(snapshot.any_quarantined().unwrap(), Some(bad));
        assert_eq!(snapshot.all_quarantined().unwrap(), [found]);
        let source = crate::BackupSource {
            node: crate::NodeId::from_bytes([4; 32]),
            snapshots: &snapshots,
            component: &|_| unreachable!("there is no application"),
            blobs: None,
        };
        let counts = crate::write_backup(&source, Vec::new(), &mut |_| {}).unwrap();
        assert_eq!((counts.contexts, counts.left_out), (1, 1));
        let exported = crate::export_context(snapshot, &id(1), crate::ExportScope::ALL, Vec::new());
        assert!(matches!(
            exported,
            Err(crate::ExportError::Quarantined { .. })
        ));
        drop(snapshots);
        let release = Change::Quarantine {
            context: id(1),
            why: None,
        };
        let out = |ledger: &Ledger| {
            let snapshot = ledger.snapshot().unwrap();
            let any = snapshot.any_quarantined().unwrap();
            (snapshot.all_quarantined().unwrap().len(), any)
        };
        // Nothing says any more where it is, so it cannot be put back.
        let damage = |ledger: &Ledger| {
            flip(ledger, |tables| tables.contexts, id(1).as_bytes());
            flip(ledger, |tables| tables.heads, &slot_key(bad));
        };
        damage(&ledger);
        let refused = ledger.commit(vec![release.clone()]).unwrap().remove(0);
        assert!(matches!(refused, Err(Refused::Damaged { .. })));
        assert_eq!(out(&ledger), (1, Some(bad)));
        damage(&ledger);
        // Until it is put back, or is no more.
        let delete = Change::DeleteContext(id(1));
        for end in [release, delete] {
            let unwritten = vec![(id(1), "damage".to_owned())];
            ledger.keep_out_of_service(unwritten).unwrap();
            assert_eq!(out(&ledger), (1, Some(bad)));
            ledger.commit(vec![end]).unwrap().remove(0).unwrap();
            assert_eq!(out(&ledger), (0, None));
        }
    }

    /// Reading each record by itself tells nothing of one that is not there, or is back.
    #[test]
    fn where_keys_were_put_right_everything_is_compared_though_each_record_is_whole() {
        let (_dir, ledger, _) = two();
        alter(&ledger, |tables, txn| {
            tables.log.delete(txn, &position_key(1))
        });
        let whole = LookedOver {
            has_damage: false,
            ..DAMAGED
        };
        let put_right = LookedOver {
            has_keys_put_right: true,
            ..whole
        };
        let out = || ledger.snapshot().unwrap().all_quarantined().unwrap();
        assert!(!find_and_put_out(&ledger, &whole).unwrap().is_verified);
        assert_eq!(out(), []);
        assert!(find_and_put_out(&ledger, &put_right).unwrap().is_verified);
        let out: Vec<_> = out().iter().map(|out| out.context).collect();
        assert_eq!(out, [id(1)]);
    }

    /// Rows of the log are numbered, as slots are.
    #[test]
    fn a_damaged_row_of_the_log_is_not_taken_for_one_of_the_context_in_the_slot_of_that_number() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = open(&dir);
        let first = create(&ledger, 1);
        let op = Op::set(Bytes::from_static(b"key"), Bytes::from_static(b"value"));
        let call = Change::Call(call(1, first, 100, vec![op]));
        ledger.commit(vec![call]).unwrap().remove(0).unwrap();
        let second = create(&ledger, 2);
        flip(&ledger, |tables| tables.log, &position_key(second.number()));
        find_and_put_out(&ledger, &DAMAGED).unwrap();
        let out = ledger.snapshot().unwrap().all_quarantined().unwrap();
        let out: Vec<_> = out.iter().map(|out| out.context).collect();
        assert_eq!(out, [id(1)]);
    }

    /// A damaged row of the log does not say of which context it was.
    #[test]
    fn damage_that_says_not_whose_it_is_is_looked_into_once() {
        let (_dir, ledger, _) = two();
        flip(&ledger, |tables| tables.log, &position_key(1));
        let first = find_and_put_out(&ledger, &DAMAGED).unwrap();
        assert!(first.is_verified && first.unwritten.is_empty());
        let out = || ledger.snapshot().unwrap().all_quarantined().unwrap();
        assert_eq!(out().len(), 1);
        for _ in 0..2 {
            assert!(!find_and_put_out(&ledger, &DAMAGED).unwrap().is_verified);
        }
        let release = Change::Quarantine {
            context: id(1),
            why: None,
        };
        ledger.commit(vec![release]).unwrap().remove(0).unwrap();
        assert!(find_and_put_out(&ledger, &DAMAGED).unwrap().is_verified);
        assert_eq!(out().len(), 1);
        flip(&ledger, |tables| tables.log, &position_key(2));
        assert!(find_and_put_out(&ledger, &DAMAGED).unwrap().is_verified);
        assert_eq!(out().len(), 2);
    }
}
