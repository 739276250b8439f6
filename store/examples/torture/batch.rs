//! What the batches of `torture` write, so that what is in a ledger follows from
//! the numbers of its batches alone. Comparing is in `check.rs`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use corelet_store::{
    AnswerKey, ApplicationId, Attachment, BlobId, CallEffects, Change, ContextId, Event, Hlc,
    KeyedAnswer, NewContext, NodeId, Op, RequestDigest, Said, Space, Write,
};

/// Contexts that each batch calls. One more comes and goes.
pub(crate) const CONTEXTS: u8 = 4;
const PASSING: u8 = 99;

/// The calls of this one have keys.
pub(crate) const KEYED: u8 = 1;

/// Keys in a context that remember older batches.
const HISTORY: u64 = 50;

/// Blobs that are attached in turn. There are none of them here: another node may have them.
pub(crate) const BLOBS: u64 = 7;

/// How many blobs a context has attached after a few batches.
const ATTACHED: u64 = 3;

/// In every so many batches a context comes and goes.
pub(crate) fn batch(n: u64, passing_every: u64) -> Vec<Change> {
    let mut batch: Vec<Change> = (0..CONTEXTS)
        .map(|context| Change::Call(call(context, n)))
        .collect();
    if n.is_multiple_of(passing_every) {
        batch.extend(create(PASSING, n));
        batch.push(Change::Call(call(PASSING, n)));
        batch.push(Change::DeleteContext(id(PASSING)));
        batch.push(Change::RemoveName {
            name: name(PASSING),
            context: id(PASSING),
        });
    }
    batch
}

pub(crate) fn id(context: u8) -> ContextId {
    ContextId::from_bytes([context; 32])
}

pub(crate) fn name(context: u8) -> String {
    format!("context {context}")
}

/// A context with its name.
pub(crate) fn create(context: u8, n: u64) -> [Change; 2] {
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

/// Several keys that must agree, one that tells the history, sometimes one
/// that is large, growing and shrinking, a blob that is attached and one that is no longer.
fn call(context: u8, n: u64) -> CallEffects {
    let mut ops: Vec<Op> = (0..4)
        .map(|copy| set(format!("copy{copy}"), n.to_be_bytes().to_vec()))
        .collect();
    ops.push(set(
        format!("history{}", n % HISTORY),
        n.to_be_bytes().to_vec(),
    ));
    ops.push(match n % 4 {
        0 => set("large".to_owned(), large(n)),
        1 => Op::remove(Bytes::from_static(b"large")),
        _ => set("small".to_owned(), vec![n as u8]),
    });
    // After what is in the shared space, and in the order of their keys.
    let mut attachments = [
        attachment(n, Write::Insert),
        attachment(n + BLOBS - ATTACHED, Write::Remove),
    ];
    attachments.sort_by(|a, b| a.key.cmp(&b.key));
    ops.extend(attachments);
    CallEffects {
        ops,
        events: vec![Event {
            kind: "batch".to_owned(),
            payload: Bytes::copy_from_slice(&n.to_be_bytes()),
        }],
        answer: (context == KEYED).then(|| Box::new(answer(n))),
        ..CallEffects::new(
            id(context),
            NodeId::from_bytes([7; 32]),
            Hlc::from_bits(n << 12),
        )
    }
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

fn set(key: String, value: Vec<u8>) -> Op {
    Op::set(key.into(), value.into())
}

/// What a context has after these batches.
#[derive(Default)]
pub(crate) struct Expected {
    pub(crate) entries: BTreeMap<String, Vec<u8>>,
    pub(crate) attached: BTreeSet<Attachment>,
}

impl Expected {
    pub(crate) fn after(batches: &[u64]) -> Expected {
        let mut expected = Expected::default();
        for op in batches.iter().flat_map(|n| call(0, *n).ops) {
            if let Some(attachment) = Attachment::from_key(&op.key)
                && op.space == Space::Attached
            {
                match op.write {
                    Write::Insert => expected.attached.insert(attachment),
                    _ => expected.attached.remove(&attachment),
                };
                continue;
            }
            let key = String::from_utf8(op.key.to_vec()).expect("a key of ours is text");
            match op.write {
                Write::Set(value) => expected.entries.insert(key, value.to_vec()),
                _ => expected.entries.remove(&key),
            };
        }
        expected
    }
}
