//! Which states may stand in which space, and under which keys: those that calls and deltas can
//! make there. Whoever reads entries that somebody else may have written asks here; what a call or
//! a delta may write is checked where these come in (`apply/bounds.rs`, `delta.rs`).

use crate::entry::digest::AuthorNames;
use crate::entry::kind::{EntryKind, Space};
use crate::entry::state::Stored;
use crate::ids::NodeId;
use crate::stable::StableKey;

/// Tells why this entry cannot stand under `key` in `space`, if it cannot. `authors` gives names to
/// the numbers in it. Whether a key of [`Space::Attached`] names a blob is checked with
/// what is noted of that.
pub(crate) fn check_placement(
    space: Space,
    key: &[u8],
    entry: &Stored<'_>,
    authors: &impl AuthorNames,
) -> Result<(), &'static str> {
    match space {
        Space::Shared => Ok(()),
        Space::Owned => {
            let owner = key.first_chunk::<{ Space::OWNER_BYTES }>();
            let owner = owner.ok_or("its key is too short to name its owner")?;
            let owner = NodeId::from_bytes(*owner);
            let mut placed = Ok(());
            // The first dot with which something is wrong is told.
            entry.dots(&mut |dot| {
                placed = placed.and(match authors.name(dot.author) {
                    Some(name) if name == owner => Ok(()),
                    Some(_) => Err("another author than its owner has written it"),
                    None => Err("its author is unknown"),
                });
            });
            placed
        }
        Space::Private | Space::Agenda => match entry {
            Stored::Value(_) => Ok(()),
            Stored::Sections(_) => Err("it is this node's alone, and no register with one value"),
        },
        Space::Attached => match entry.has_only(EntryKind::SetElement) {
            true => Ok(()),
            false => Err("it attaches a blob, and is no set element"),
        },
        Space::Stable => {
            let longest = match entry {
                Stored::Value(value) => value.bytes.len(),
                Stored::Sections(state) => {
                    let values = state.register.iter().map(|value| value.bytes.len());
                    values.max().unwrap_or(0)
                }
            };
            let key = StableKey::from_key(key);
            let fits = key.is_some_and(|key| longest <= key.value_bytes_max());
            match fits && entry.has_only(EntryKind::Register) {
                true => Ok(()),
                false => Err("it is no part of a stable memory"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authors::Authors;
    use crate::entry::state::{State, Value};
    use crate::hlc::Hlc;
    use crate::layout::author_key;
    use crate::record::{AuthorRow, seal};
    use crate::version::Dot;

    const OWNER: [u8; 32] = [5; 32];

    fn dot(author: u32) -> Dot {
        let hlc = Hlc::from_bits(7 << 12);
        Dot { author, hlc }
    }

    fn value(author: u32) -> Stored<'static> {
        let dot = dot(author);
        Stored::Value(Value {
            dot,
            bytes: b"value",
        })
    }

    fn element(authors: &[u32]) -> Stored<'static> {
        Stored::Sections(State {
            element: authors.iter().copied().map(dot).collect(),
            ..State::default()
        })
    }

    #[test]
    fn an_entry_may_stand_where_a_call_or_a_delta_can_have_made_it() {
        let mut authors = Authors::default();
        let [other, owner] = [0, 1];
        for (number, node) in [(other, [4; 32]), (owner, OWNER)] {
            let (key, mut record) = (author_key(number), Vec::new());
            seal(&mut record, &key, &AuthorRow { node });
            authors.read(&key, &record).unwrap();
        }
        let in_once = Stored::Sections(State {
            once: Some(Value {
                dot: dot(owner),
                bytes: b"once",
            }),
            element: vec![dot(owner)],
            ..State::default()
        });
        let below = [&OWNER[..], b"key"].concat();
        let unknown = [6; 32];
        let several = Stored::Sections(State {
            register: [other, owner]
                .map(|author| Value {
                    dot: dot(author),
                    bytes: &[7; 1024],
                })
                .to_vec(),
            ..State::default()
        });
        let cases: [(Space, &[u8], &Stored<'_>, bool); 26] = [
            (Space::Shared, b"", &value(other), true),
            (Space::Shared, b"key", &in_once, true),
            (Space::Owned, &below, &value(owner), true),
            (Space::Owned, &OWNER, &value(owner), true),
            (Space::Owned, &below, &in_once, true),
            (Space::Owned, &below, &value(other), false),
            (Space::Owned, &below, &element(&[other, owner]), false),
            (Space::Owned, &OWNER[..31], &value(owner), false),
            (Space::Owned, &unknown, &value(owner), false),
            (Space::Private, b"key", &value(other), true),
            (Space::Private, b"key", &element(&[owner]), false),
            (Space::Private, b"key", &in_once, false),
            (Space::Agenda, b"key", &value(other), true),
            (Space::Agenda, b"key", &element(&[owner]), false),
            (Space::Agenda, b"key", &in_once, false),
            (Space::Attached, b"key", &element(&[owner]), true),
            (Space::Attached, b"key", &element(&[other, owner]), true),
            (Space::Attached, b"key", &value(owner), false),
            (Space::Attached, b"key", &in_once, false),
            (Space::Stable, &[0, 0, 0, 9], &value(other), true),
            (Space::Stable, &[0, 0, 0, 9], &several, true),
            (Space::Stable, &[0, 0, 0, 9], &element(&[owner]), false),
            (Space::Stable, &[0, 0, 0, 9], &in_once, false),
            (Space::Stable, &[0, 0, 0, 9, 0], &value(other), false),
            (Space::Stable, &[0, 0, 0, 9, 0], &several, false),
            (Space::Stable, b"key", &value(other), false),
        ];
        for unknown in [value(2), element(&[owner, 2])] {
            let checked = check_placement(Space::Owned, &below, &unknown, &authors);
            assert_eq!(checked, Err("its author is unknown"), "{unknown:?}");
        }
        for (space, key, entry, may) in cases {
            let checked = check_placement(space, key, entry, &authors);
            assert_eq!(
                checked.is_ok(),
                may,
                "{space:?} {key:?} {entry:?}: {checked:?}"
            );
        }
    }
}
