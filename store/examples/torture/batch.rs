//! What the batches of `torture` write, so that what is in a ledger follows from
//! the numbers of its batches alone. One context is in `shared.rs`; comparing is in `check.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use bytes::Bytes;
use corelet_store::{
    AnswerKey, ApplicationId, Attachment, BlobId, CallEffects, Change, ContextId, Event, Hlc,
    KeyedAnswer, NewContext, NodeId, Op, RequestDigest, Said, Space, Write,
};

use crate::check::Value;
use crate::shared::{Shared, share};

/// Contexts that each batch calls. One more comes and goes.
pub(crate) const CONTEXTS: u8 = 4;
const PASSING: u8 = 99;

/// The calls of this one have keys.
pub(crate) const KEYED: u8 = 1;

/// What others get in one call, this one gets in a call for each write.
pub(crate) const APART: u8 = 2;

/// So does this one, which another node has as well.
pub(crate) const SHARED: u8 = 3;

/// Keys in a context that remember older batches.
const HISTORY: u64 = 50;

/// Keys in a context that are new in the first batches, so that nodes of its trie split.
const SPREAD: u64 = 60;

/// Of those, how many a batch writes.
const SPREAD_AT_ONCE: u64 = 3;

/// Blocks of a stable memory that are written in turn, and how many bytes of each.
const BLOCKS: u64 = 5;
const BLOCK_BYTES: usize = 100;

/// Blobs that are attached in turn. There are none of them here: another node may have them.
pub(crate) const BLOBS: u64 = 7;

/// How many blobs a context has attached after a few batches.
const ATTACHED: u64 = 3;

/// The node that writes.
pub(crate) const US: NodeId = NodeId::from_bytes([7; 32]);

/// In every so many batches a context comes and goes. Fails if `shared` cannot be edited.
pub(crate) fn batch(
    n: u64,
    passing_every: u64,
    shared: &mut Shared,
) -> Result<Vec<Change>, Box<dyn Error>> {
    let whole = (0..CONTEXTS).filter(|context| ![APART, SHARED].contains(context));
    let mut batch: Vec<Change> = whole
        .map(|context| Change::Call(call(context, n)))
        .collect();
    // By turns, so that the calls of both wait for their roots together.
    for (at, op) in (1..).zip(ops_apart(n)) {
        for context in [APART, SHARED] {
            let call = CallEffects {
                ops: vec![op.clone()],
                ..CallEffects::new(id(context), US, stamp(n, at))
            };
            batch.push(Change::Call(call));
        }
    }
    batch.push(Change::Call(CallEffects {
        ops: vec![set("copy3".to_owned(), n.to_be_bytes().to_vec())],
        events: vec![event(n)],
        ..CallEffects::new(id(APART), US, stamp(n, SPREAD))
    }));
    batch.extend(shared.changes(n)?);
    if n.is_multiple_of(passing_every) {
        batch.extend(create(PASSING, n));
        batch.push(Change::Call(call(PASSING, n)));
        batch.push(Change::DeleteContext(id(PASSING)));
        batch.push(Change::RemoveName {
            name: name(PASSING),
            context: id(PASSING),
        });
    }
    Ok(batch)
}

/// The stamp of the change at this place of batch `n`.
pub(crate) fn stamp(n: u64, at: u64) -> Hlc {
    Hlc::from_bits((n << 12) + at)
}

/// By this event a context says that it has seen batch `n`.
pub(crate) fn event(n: u64) -> Event {
    Event {
        kind: "batch".to_owned(),
        payload: Bytes::copy_from_slice(&n.to_be_bytes()),
    }
}

pub(crate) fn id(context: u8) -> ContextId {
    ContextId::from_bytes([context; 32])
}

pub(crate) fn name(context: u8) -> String {
    format!("context {context}")
}

/// All contexts that stay.
pub(crate) fn create_all() -> Vec<Change> {
    let all = (0..CONTEXTS).flat_map(|context| create(context, 0));
    all.chain(share()).collect()
}

/// A context with its name.
fn create(context: u8, n: u64) -> [Change; 2] {
    let call = CallEffects {
        ops: vec![],
        events: vec![],
        answer: None,
        ..call(context, n)
    };
    let named = Change::PutName {
        name: name(context),
        context: id(context),
    };
    let created = Change::CreateContext(NewContext {
        id: id(context),
        name: Some(name(context)),
        application: ApplicationId::from_bytes([1; 32]),
        created: call.hlc,
        call,
    });
    [named, created]
}

/// All of a batch in one call.
fn call(context: u8, n: u64) -> CallEffects {
    let mut ops = ops(n);
    ops.sort_by(|a, b| (a.space, &a.key).cmp(&(b.space, &b.key)));
    CallEffects {
        ops,
        events: vec![event(n)],
        answer: (context == KEYED).then(|| Box::new(answer(n))),
        ..CallEffects::new(id(context), US, stamp(n, 0))
    }
}

/// Several keys that must agree, some that tell the history, sometimes one that is large, growing
/// and shrinking, a blob that is attached and one that is no longer, a block of the stable memory
/// that is written and sometimes one that is no longer, or an end.
fn ops(n: u64) -> Vec<Op> {
    let number = || n.to_be_bytes().to_vec();
    let mut ops: Vec<Op> = (0..4)
        .map(|copy| set(format!("copy{copy}"), number()))
        .collect();
    ops.push(set(format!("history{}", n % HISTORY), number()));
    let spread = (0..SPREAD_AT_ONCE).map(|nth| (n * SPREAD_AT_ONCE + nth) % SPREAD);
    ops.extend(spread.map(|key| set(format!("spread{key}"), number())));
    ops.push(match n % 4 {
        0 => set("large".to_owned(), large(n)),
        1 => Op::remove(Bytes::from_static(b"large")),
        _ => set("small".to_owned(), vec![n as u8]),
    });
    ops.push(attachment(n, Write::Insert));
    ops.push(attachment(n + BLOBS - ATTACHED, Write::Remove));
    ops.extend(stable(n));
    ops
}

/// What batch `n` does to the stable memory.
fn stable(n: u64) -> impl Iterator<Item = Op> {
    let block = |n: u64| ((n % BLOCKS) as u32).to_be_bytes().to_vec();
    let set = |key: Vec<u8>, value| Op {
        space: Space::Stable,
        ..Op::set(key.into(), Bytes::from(value))
    };
    let written = set(block(n), vec![n as u8; BLOCK_BYTES]);
    let other = match n % 4 {
        0 => Some(set([block(n), vec![0]].concat(), vec![])),
        1 => Some(Op {
            space: Space::Stable,
            ..Op::remove(block(n + 1).into())
        }),
        _ => None,
    };
    [written].into_iter().chain(other)
}

/// The same for calls with one write each, in which one key is also written twice in a row.
fn ops_apart(n: u64) -> Vec<Op> {
    let passing = set("copy0".to_owned(), b"not for long".to_vec());
    [passing].into_iter().chain(ops(n)).collect()
}

/// What the call of batch `n` was told.
pub(crate) fn answer(n: u64) -> KeyedAnswer {
    let text = Bytes::copy_from_slice(&n.to_be_bytes());
    KeyedAnswer {
        key: AnswerKey::of(&text),
        request: RequestDigest::of(b"call", &text),
        fuel_used: n,
        said: Said::Output(text),
    }
}

/// The blob that batch `n` attaches.
pub(crate) fn blob(n: u64) -> Attachment {
    Attachment {
        blob: BlobId::of(&(n % BLOBS).to_be_bytes()),
        bytes: 1 << (n % BLOBS),
    }
}

fn attachment(n: u64, write: Write) -> Op {
    Op {
        space: Space::Attached,
        key: Bytes::copy_from_slice(&blob(n).key()),
        removes_first: false,
        write,
    }
}

fn large(n: u64) -> Vec<u8> {
    vec![n as u8; 5000 + (n as usize * 997) % 20_000]
}

pub(crate) fn set(key: String, value: Vec<u8>) -> Op {
    Op::set(key.into(), value.into())
}

/// What a context's entries are after these batches, without what it has attached.
pub(crate) fn entries(batches: &[u64]) -> BTreeMap<(Space, Vec<u8>), Value> {
    let mut entries = BTreeMap::new();
    for op in batches.iter().flat_map(|n| ops(*n)) {
        let key = (op.space, op.key.to_vec());
        match op.write {
            Write::Set(value) => entries.insert(key, Value::Register(value.to_vec())),
            _ => entries.remove(&key),
        };
    }
    entries
}

/// What a context has attached after these batches.
pub(crate) fn attached(batches: &[u64]) -> BTreeSet<Attachment> {
    let mut attached = BTreeSet::new();
    for n in batches {
        attached.insert(blob(*n));
        attached.remove(&blob(n + BLOBS - ATTACHED));
    }
    attached
}
