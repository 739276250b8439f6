//! A data directory checked while nobody has it open: what is whole is found whole and
//! left as it is, and damage of one context does not hide that of another.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use corelet_store::{
    Change, CheckReport, DataDir, Ledger, NodeId, OpenOptions, ShardCount, StoreError, check,
};

use crate::{Bench, event, id, remove, set};

/// Every file below `dir`, with its bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path.clone(), fs::read(path).unwrap())),
        }
    }
    found
}

fn data_dir(bench: &Bench) -> &Path {
    bench._dir.path()
}

/// The report of a directory that is closed; checking has changed nothing there.
fn checked(bench: &Bench) -> CheckReport {
    assert!(bench.ledger.is_none());
    let before = files(data_dir(bench));
    let report = check(data_dir(bench), &mut |_| {}).unwrap();
    assert!(files(data_dir(bench)) == before, "checking changes nothing");
    report
}

/// Three contexts with entries, events and a large value each, and calls that are in the
/// journal alone.
fn filled() -> Bench {
    let mut bench = Bench::new();
    for n in 1..=3 {
        let slot = bench.create(n);
        let ops = (0..40).map(|key| set(format!("key-{key}"), format!("context {n}, {key}")));
        let mut call = bench.effects(n, slot, ops.collect());
        call.events.push(event("made", &[n]));
        bench.commit(vec![Change::Call(call)]);
        let large = set("large", vec![n; 9000]);
        let call = bench.call(n, slot, vec![large, remove("key-7")]);
        bench.commit(vec![call]);
    }
    for n in [1, 3] {
        let slot = bench
            .ledger()
            .snapshot()
            .unwrap()
            .context(&id(n))
            .unwrap()
            .unwrap()
            .slot;
        let call = bench.call(n, slot, vec![set("journaled", "by a call")]);
        let outcome = bench.ledger().writer().commit(vec![call]).unwrap();
        assert!(outcome.verdicts[0].is_ok() && !outcome.is_shown);
    }
    bench.close();
    bench
}

#[test]
fn a_whole_directory_is_found_whole_and_left_as_it_is() {
    let bench = filled();
    let report = checked(&bench);
    assert!(report.is_whole(), "{:?}", report.findings);
    assert_eq!(report.notes, Vec::<String>::new());
    assert_eq!((report.held.contexts, report.held.entries), (3, 3 * 40));
    assert_eq!((report.held.deltas, report.held.events), (3 * 2, 3));
    assert_eq!(report.journaled, 2);
}

#[test]
fn damage_is_told_of_each_context_with_its_key_and_the_neighbours_are_whole() {
    let bench = filled();
    let path = bench.place.dir().join("data.mdb");
    let mut bytes = fs::read(&path).unwrap();
    for needle in [&b"context 1, 5"[..], b"context 3, 9"] {
        for at in 0..bytes.len() - needle.len() {
            if bytes[at..].starts_with(needle) {
                bytes[at + 2] ^= 1;
            }
        }
    }
    fs::write(&path, bytes).unwrap();
    let report = checked(&bench);
    let entries = report.findings.iter().filter(|it| it.what == "entry");
    let contexts: Vec<_> = entries.map(|it| it.context).collect();
    assert!(
        contexts.contains(&Some(id(1))) && contexts.contains(&Some(id(3))),
        "{report:?}"
    );
    for finding in &report.findings {
        assert_ne!(finding.context, Some(id(2)), "{finding}");
        assert_eq!(finding.shard, Some(0));
        assert!(!finding.why.is_empty() && !finding.advice.is_empty());
    }
    assert_eq!(report.held.contexts, 3);
}

/// What reading would not notice: LMDB would go where a page leads it.
#[test]
fn a_page_that_leads_elsewhere_is_told_before_the_engine_believes_it() {
    let bench = filled();
    let path = bench.place.dir().join("data.mdb");
    let whole = fs::read(&path).unwrap();
    let mut told = 0;
    for page in 2..whole.len() / 4096 {
        // The lower bound of its free space, and where its first node lies.
        for at in [12, 16] {
            let mut bytes = whole.clone();
            bytes[page * 4096 + at] ^= 2;
            fs::write(&path, bytes).unwrap();
            let report = checked(&bench);
            let is_page = |it: &corelet_store::Finding| it.what.starts_with("page");
            told += usize::from(report.findings.iter().any(is_page));
        }
    }
    // Some pages are free, and a large value has no nodes.
    assert!(told > 20, "{told}");
}

#[test]
fn a_directory_that_is_open_is_not_checked() {
    let bench = filled();
    let options = OpenOptions {
        shards_if_new: ShardCount::new(1).unwrap(),
        node_id_if_new: NodeId::from_bytes([4; 32]),
    };
    let open = DataDir::open(data_dir(&bench), &options).unwrap();
    let error = check(data_dir(&bench), &mut |_| {}).unwrap_err();
    assert!(
        matches!(error, StoreError::Locked { pid: Some(_), .. }),
        "{error}"
    );
    drop(open);
    checked(&bench);
}

#[test]
fn a_missing_file_and_a_cut_off_manifest_are_findings() {
    let bench = filled();
    let journal = bench.place.dir().join("journal");
    let kept = fs::read(&journal).unwrap();
    fs::remove_file(&journal).unwrap();
    let findings = checked(&bench).findings;
    assert!(findings[0].why.contains("is missing"), "{findings:?}");
    fs::write(&journal, kept).unwrap();
    let manifest = data_dir(&bench).join("manifest");
    let text = fs::read(&manifest).unwrap();
    fs::write(&manifest, &text[..40]).unwrap();
    assert_eq!(checked(&bench).findings[0].what, "manifest");
    fs::remove_file(&manifest).unwrap();
    assert!(!checked(&bench).is_whole());
    fs::write(&manifest, text).unwrap();
    assert!(checked(&bench).is_whole());
}

/// Two shards: a context in the wrong one, and a name without a context.
#[test]
fn contexts_lie_where_their_ids_say_and_names_stand_for_what_exists() {
    let dir = tempfile::tempdir().unwrap();
    let shards = ShardCount::new(2).unwrap();
    let options = OpenOptions {
        shards_if_new: shards,
        node_id_if_new: NodeId::from_bytes([4; 32]),
    };
    let mut bench = Bench::new();
    let data = DataDir::open(dir.path(), &options).unwrap();
    for shard in shards.shards() {
        let ledger = Ledger::open(&data.ledger_place(shard), &bench.config).unwrap();
        let new = bench.new_context(1);
        ledger.commit(vec![new]).unwrap().remove(0).unwrap();
        let name = format!("nobody-{shard}");
        let put = Change::PutName {
            name,
            context: id(9),
        };
        ledger.commit(vec![put]).unwrap().remove(0).unwrap();
    }
    drop(data);
    let report = check(dir.path(), &mut |_| {}).unwrap();
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    assert!(report.findings[0].why.contains("another shard"));
    assert_eq!(report.notes.len(), 2, "{:?}", report.notes);
}
