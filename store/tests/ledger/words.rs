//! What a context holds, in words, so that two ledgers or two moments can be compared. Without
//! places of edits, which are each ledger's own as numbers of authors are.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use corelet_store::{ContextSlot, EditView, EntryKind, Scan, Snapshot, Space};

/// Entries and edits.
pub(crate) type Content = (BTreeMap<(Space, Vec<u8>), String>, Vec<String>);

/// Lists and texts.
pub(crate) const SEQUENCES: [EntryKind; 2] = [EntryKind::List, EntryKind::Text];

/// What the context holds in these spaces.
pub(crate) fn content(snapshot: &Snapshot, slot: ContextSlot, spaces: &[Space]) -> Content {
    let mut entries = BTreeMap::new();
    let mut edits = Vec::new();
    for &space in spaces {
        let all = Scan {
            space,
            limit: usize::MAX,
            ..Scan::default()
        };
        snapshot
            .scan(slot, all, &mut |entry| {
                let value = format!("{:?}", entry.value()?);
                entries.insert((space, entry.key().to_vec()), value);
                Ok(ControlFlow::Continue(()))
            })
            .unwrap();
    }
    for (space, key) in entries.keys() {
        for kind in SEQUENCES {
            snapshot
                .edits(slot, *space, key, kind, &mut |edit| {
                    edits.push(edit_in_words(key, &edit));
                    ControlFlow::Continue(())
                })
                .unwrap();
        }
    }
    (entries, edits)
}

pub(crate) fn edit_in_words(key: &[u8], edit: &EditView<'_>) -> String {
    let EditView {
        author,
        hlc,
        update,
        seen,
        ..
    } = edit;
    format!("{key:?} {author} {hlc:?} {update:?} {seen:?}")
}
