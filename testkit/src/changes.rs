//! What a call has done, one deed after another, as the one changeset that a commit takes: of
//! several writes of an entry what they come to, as the server reckons it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use corelet_sdk::testing::replica::{self, Deed, Elements};
use corelet_store::{
    Attachment, Births, BlobId, Content, ContextSlot, EntryKind, EntryValue, Hlc, NodeId, Op, Scan,
    Sequence, SequenceKind, Snapshot, Space, Write, replay,
};

/// What a call has written, over what there was.
pub(crate) struct Changes<'a> {
    snapshot: &'a Snapshot,
    slot: ContextSlot,
    author: NodeId,
    own: BTreeMap<(Space, Bytes), Own>,
    /// Whether there may be something else from now on than what the call has seen: something that
    /// was beneath what it has removed, or a sum that has more than 64 bits.
    pub(crate) is_unsure: bool,
}

/// What several writes of one entry come to.
struct Own {
    removes_first: bool,
    write: Made,
}

enum Made {
    Plain(Write),
    /// Of a list or text, as it is since then.
    Edit {
        kind: EntryKind,
        births: Births,
        sequence: Box<Sequence>,
    },
}

impl Own {
    /// Whether what was there before the call is gone.
    fn is_anew(&self) -> bool {
        self.removes_first || matches!(self.write, Made::Plain(Write::Remove))
    }
}

impl<'a> Changes<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot, slot: ContextSlot, author: NodeId) -> Changes<'a> {
        Changes {
            snapshot,
            slot,
            author,
            own: BTreeMap::new(),
            is_unsure: false,
        }
    }

    /// One deed more. An error is what is wrong with it.
    pub(crate) fn add(&mut self, deed: Deed) -> Result<(), String> {
        match deed {
            Deed::Write { space, key, write } => {
                self.write((store_space(space), Bytes::from(key)), write)
            }
            Deed::Attach(blob, bytes) => {
                let blob = blob_id(&blob)?;
                let key = Attachment { blob, bytes }.key();
                let at = (Space::Attached, Bytes::copy_from_slice(&key));
                self.put(at, Write::Insert);
                Ok(())
            }
            Deed::Detach(blob) => {
                let blob = blob_id(&blob)?;
                for key in self.attachments(&blob) {
                    self.remove((Space::Attached, key));
                }
                Ok(())
            }
        }
    }

    /// The writes, in a delta with this stamp.
    pub(crate) fn into_ops(self, hlc: Hlc) -> Result<Vec<Op>, String> {
        let op = |((space, key), own): ((Space, Bytes), Own)| {
            let write = match own.write {
                Made::Plain(write) => write,
                Made::Edit {
                    kind,
                    births,
                    mut sequence,
                } => {
                    let update = sequence.take_update(hlc);
                    let update = update.map_err(|error| error.to_string())?;
                    let update = Bytes::from(update.unwrap_or_default());
                    Write::Edit {
                        kind,
                        births,
                        update,
                    }
                }
            };
            Ok(Op {
                space,
                key,
                removes_first: own.removes_first,
                write,
            })
        };
        self.own.into_iter().map(op).collect()
    }

    fn write(&mut self, at: (Space, Bytes), write: replica::Write) -> Result<(), String> {
        match write {
            replica::Write::Set(value) => self.put(at, Write::Set(value.into())),
            replica::Write::Insert => self.put(at, Write::Insert),
            replica::Write::WriteOnce(value) => self.put(at, Write::WriteOnce(value.into())),
            replica::Write::Remove => self.remove(at),
            replica::Write::Add(amount) => {
                let before = match self.own.get(&at) {
                    Some(Own {
                        write: Made::Plain(Write::Add(before)),
                        ..
                    }) => *before,
                    _ => 0,
                };
                let Some(added) = before.checked_add(amount) else {
                    let what = "more was added to a counter in one call than 64 bits can hold";
                    return Err(what.to_owned());
                };
                self.is_unsure |= self.is_beyond(&at);
                self.put(at, Write::Add(added));
            }
            replica::Write::InsertAt(index, elements) => {
                let kind = sequence_kind(elements.kind());
                let sequence = self.sequence(at, kind);
                let inserted = sequence.insert(to_usize(index), content(elements));
                return inserted.map_err(|error| error.to_string());
            }
            replica::Write::RemoveAt(kind, index, count) => {
                let sequence = self.sequence(at, sequence_kind(kind));
                let removed = sequence.delete(to_usize(index), to_usize(count));
                return removed.map_err(|error| error.to_string());
            }
        }
        Ok(())
    }

    /// Whether a counter's sum may be more than what is read of it.
    fn is_beyond(&self, (space, key): &(Space, Bytes)) -> bool {
        let below = self.snapshot.get(self.slot, *space, key);
        match below.expect("the ledger is sound") {
            Some(EntryValue::Counter(sum)) => matches!(sum.nearest(), i64::MIN | i64::MAX),
            _ => false,
        }
    }

    fn put(&mut self, at: (Space, Bytes), write: Write) {
        let removes_first = self.own.get(&at).is_some_and(Own::is_anew);
        let own = Own {
            removes_first,
            write: Made::Plain(write),
        };
        self.own.insert(at, own);
    }

    fn remove(&mut self, at: (Space, Bytes)) {
        self.is_unsure = true;
        let below = self.snapshot.get(self.slot, at.0, &at.1);
        if below.expect("the ledger is sound").is_none() {
            // It has come and gone within the call.
            self.own.remove(&at);
            return;
        }
        let own = Own {
            removes_first: false,
            write: Made::Plain(Write::Remove),
        };
        self.own.insert(at, own);
    }

    /// The list or text as the call has it so far, which this begins if there is none.
    fn sequence(&mut self, at: (Space, Bytes), kind: SequenceKind) -> &mut Sequence {
        let own = self.own.get(&at);
        if !matches!(
            own,
            Some(Own {
                write: Made::Edit { .. },
                ..
            })
        ) {
            let removes_first = own.is_some_and(Own::is_anew);
            let found = match removes_first {
                true => None,
                false => open(self.snapshot, self.slot, (at.0, &at.1), kind, self.author),
            };
            let new = || (Births::default(), Sequence::new(kind, self.author));
            let (births, sequence) = found.unwrap_or_else(new);
            let write = Made::Edit {
                kind: entry_kind(kind),
                births,
                sequence: Box::new(sequence),
            };
            let own = Own {
                removes_first,
                write,
            };
            self.own.insert(at.clone(), own);
        }
        match self.own.get_mut(&at) {
            Some(Own {
                write: Made::Edit { sequence, .. },
                ..
            }) => sequence,
            _ => unreachable!("it was put there"),
        }
    }

    /// The keys under which a blob is attached: others may have said of it that it has another size.
    fn attachments(&self, blob: &BlobId) -> Vec<Bytes> {
        let prefix = blob.as_bytes();
        let own = self
            .own
            .keys()
            .filter(|(space, key)| *space == Space::Attached && key.starts_with(prefix));
        let mut keys: Vec<Bytes> = own.map(|(_, key)| key.clone()).collect();
        let scan = Scan {
            space: Space::Attached,
            prefix,
            limit: usize::MAX,
            ..Scan::default()
        };
        let walked = self.snapshot.scan(self.slot, scan, &mut |entry| {
            keys.push(Bytes::copy_from_slice(entry.key()));
            Ok(ControlFlow::Continue(()))
        });
        walked.expect("the ledger is sound");
        keys
    }
}

/// A list or text as its edits make it, and its births; none if there is none.
pub(crate) fn open(
    snapshot: &Snapshot,
    slot: ContextSlot,
    (space, key): (Space, &[u8]),
    kind: SequenceKind,
    author: NodeId,
) -> Option<(Births, Sequence)> {
    let entry = entry_kind(kind);
    let facts = snapshot.sequence(slot, space, key, entry);
    let facts = facts.expect("the ledger is sound")?;
    let mut sequence = Sequence::new(kind, author);
    let replayed = snapshot.edits(slot, space, key, entry, &mut |edit| {
        // One that is void changes nothing, here as anywhere.
        replay(&mut sequence, &edit);
        ControlFlow::Continue(())
    });
    replayed.expect("the ledger is sound");
    Some((facts.births, sequence))
}

fn entry_kind(kind: SequenceKind) -> EntryKind {
    match kind {
        SequenceKind::List => EntryKind::List,
        SequenceKind::Text => EntryKind::Text,
    }
}

fn sequence_kind(kind: replica::Kind) -> SequenceKind {
    match kind {
        replica::Kind::Text => SequenceKind::Text,
        _ => SequenceKind::List,
    }
}

fn content(elements: Elements) -> Content {
    match elements {
        Elements::List(values) => {
            Content::Values(values.into_iter().map(Vec::into_boxed_slice).collect())
        }
        Elements::Text(chars) => Content::Text(chars.into_iter().collect()),
    }
}

fn blob_id(text: &str) -> Result<BlobId, String> {
    let id = text.parse();
    id.map_err(|_| format!("{text:?} is not the id of a blob: the base58 text of 32 bytes"))
}

fn store_space(space: replica::Space) -> Space {
    match space {
        replica::Space::Shared => Space::Shared,
        replica::Space::Owned => Space::Owned,
        replica::Space::Private => Space::Private,
    }
}

/// What is beyond memory is beyond any length.
fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
