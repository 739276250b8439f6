//! Names that two contexts say they have, and names of which a bit was hit.

use super::*;
use crate::check::check;
use crate::fixture::{alter, flip, id, name, open, two};

fn reconcile(ledger: &Ledger) -> Reconciled {
    reconcile_names(std::slice::from_ref(ledger)).unwrap()
}

fn remove(ledger: &Ledger, name: String, n: u8) {
    let removal = Change::RemoveName {
        name,
        context: id(n),
    };
    ledger.commit(vec![removal]).unwrap().remove(0).unwrap();
}

/// As a context may say that it has a name which is another's by now.
#[test]
fn a_name_is_freed_only_for_the_context_that_has_it() {
    let (_dir, ledger, _) = two();
    let holder = |n| ledger.snapshot().unwrap().name(&name(n));
    remove(&ledger, name(1), 2);
    assert_eq!(holder(1).unwrap(), Some(id(1)));
    remove(&ledger, name(1), 1);
    assert_eq!(holder(1).unwrap(), None);
    // Where nothing says whose it is, contexts do, at the next start.
    flip(&ledger, |tables| tables.names, name(2).as_bytes());
    assert!(holder(2).is_err());
    remove(&ledger, name(2), 1);
    assert_eq!(holder(2).unwrap(), None);
}

/// With the eighth bit of a byte it is no text any more.
#[test]
fn a_name_is_mended_whichever_bit_of_its_key_was_hit() {
    for bit in 0..8 {
        let (dir, ledger, _) = two();
        alter(&ledger, |tables, txn| {
            let mut key = name(1).into_bytes();
            let record = tables.names.get(txn, &key)?.unwrap().to_vec();
            tables.names.delete(txn, &key)?;
            key[0] ^= 1 << bit;
            tables.names.put(txn, &key, &record).map(|()| true)
        });
        let first = reconcile(&ledger);
        assert_eq!((first.freed.len(), first.mended), (1, vec![name(1)]));
        assert!(first.damaged.is_empty());
        let again = reconcile(&ledger);
        assert!(again.freed.is_empty() && again.mended.is_empty() && again.damaged.is_empty());
        let holder = ledger.snapshot().unwrap().name(&name(1)).unwrap();
        assert_eq!(holder, Some(id(1)));
        drop(ledger);
        drop(open(&dir));
        let report = check(dir.path(), &mut |_| {}).unwrap();
        assert!(report.is_whole(), "bit {bit}: {:?}", report.findings);
    }
}

/// Only what is damaged goes by its bytes.
#[test]
fn a_name_that_is_whole_is_not_dropped_as_damaged() {
    let (_dir, ledger, _) = two();
    let drop_it = || {
        let change = Change::DropDamagedName(name(1).into_bytes());
        ledger.commit(vec![change]).unwrap().remove(0).unwrap();
        ledger.snapshot().unwrap().name(&name(1))
    };
    assert_eq!(drop_it().unwrap(), Some(id(1)));
    flip(&ledger, |tables| tables.names, name(1).as_bytes());
    assert_eq!(drop_it().unwrap(), None);
}
