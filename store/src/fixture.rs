//! What the unit tests of several files need: a ledger with two contexts, ways to damage what
//! it holds, and scrubs of it.

use bytes::Bytes;
use tempfile::TempDir;

use crate::change::{CallEffects, Change, NewContext, Op};
use crate::data_dir::{DataDir, OpenOptions};
use crate::hlc::Hlc;
use crate::ids::{ApplicationId, ContextId, ContextSlot, NodeId, ShardCount};
use crate::layout::{Table, Tables};
use crate::ledger::{Ledger, LedgerConfig};
use crate::scrub::{Scrub, Scrubbed};
use crate::step::StepBounds;

/// The id of the `n`th context.
pub(crate) fn id(n: u8) -> ContextId {
    ContextId::from_bytes([n; 32])
}

/// The name of the `n`th context.
pub(crate) fn name(n: u8) -> String {
    format!("context {n}")
}

/// A call that does this.
pub(crate) fn call(n: u8, slot: ContextSlot, micros: u64, ops: Vec<Op>) -> CallEffects {
    CallEffects {
        slot,
        ops,
        ..CallEffects::new(id(n), NodeId::from_bytes([4; 32]), Hlc::from_micros(micros))
    }
}

/// Makes the `n`th context, with some entries and a name.
pub(crate) fn create(ledger: &Ledger, n: u8) -> ContextSlot {
    let ops = (0..40).map(|key| Op::set(vec![key].into(), Bytes::from_static(b"value")));
    let call = call(n, ContextSlot::UNASSIGNED, n.into(), ops.collect());
    let new = NewContext {
        id: id(n),
        name: Some(name(n)),
        application: ApplicationId::from_bytes([1; 32]),
        created: call.hlc,
        call,
    };
    let named = Change::PutName {
        name: name(n),
        context: id(n),
    };
    let mut verdicts = ledger
        .commit(vec![named, Change::CreateContext(new)])
        .unwrap();
    verdicts.remove(1).unwrap().slot()
}

pub(crate) fn open(dir: &TempDir) -> Ledger {
    let options = OpenOptions {
        shards_if_new: ShardCount::new(1).unwrap(),
        node_id_if_new: NodeId::from_bytes([4; 32]),
    };
    let data = DataDir::open(dir.path(), &options).unwrap();
    let place = data.ledger_place(options.shards_if_new.shards().next().unwrap());
    let config = LedgerConfig {
        // Damage is met when it is read.
        start_check_bytes_max: 0,
        ..LedgerConfig::default()
    };
    Ledger::open(&place, &config).unwrap()
}

/// A ledger with two contexts, each with a name.
pub(crate) fn two() -> (TempDir, Ledger, [ContextSlot; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(&dir);
    let slots = [1, 2].map(|n| create(&ledger, n));
    (dir, ledger, slots)
}

/// Does something to the tables, behind the back of everybody; it gives whether it did.
pub(crate) fn alter(
    ledger: &Ledger,
    alter: impl FnOnce(Tables, &mut heed::RwTxn<'_>) -> heed::Result<bool>,
) {
    let mut txn = ledger.shared.env.write_txn().unwrap();
    assert!(alter(ledger.shared.tables, &mut txn).unwrap());
    txn.commit().unwrap();
}

/// Flips a bit of the record under `key`.
pub(crate) fn flip(ledger: &Ledger, table: impl FnOnce(&Tables) -> Table, key: &[u8]) {
    alter(ledger, |tables, txn| {
        let table = table(&tables);
        let mut record = table.get(txn, key)?.expect("it is there").to_vec();
        *record.last_mut().expect("no record is empty") ^= 4;
        table.put(txn, key, &record).map(|()| true)
    });
}

pub(crate) const SMALL: StepBounds = StepBounds {
    rows_max: 5,
    bytes_max: u64::MAX,
};

/// What is left of a round, in one.
pub(crate) fn round(scrub: &mut Scrub, ledger: &Ledger) -> Scrubbed {
    let mut all = Scrubbed::default();
    while !all.is_round_over {
        let step = scrub.step(&ledger.snapshot().unwrap(), &SMALL).unwrap();
        all.rows += step.rows;
        all.damaged.extend(step.damaged);
        all.derived.extend(step.derived);
        all.orphans.extend(step.orphans);
        all.unnamed.extend(step.unnamed);
        all.is_round_over = step.is_round_over;
    }
    all
}

/// Two rounds of a scrub, and what they lead to: records of no context go, and authors whom
/// none names.
pub(crate) fn scrub_twice(ledger: &Ledger) {
    let mut scrub = Scrub::default();
    for _ in 0..2 {
        let found = round(&mut scrub, ledger);
        let mut writer = ledger.writer();
        writer.drop_orphans(&found.orphans).unwrap();
        writer.drop_authors(&found.unnamed).unwrap();
        writer.checkpoint().unwrap();
    }
}
