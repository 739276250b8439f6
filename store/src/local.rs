//! What the journal has of a call or a delta beside the delta's canonical bytes: what
//! concerns this node alone. For most calls it is nothing.
//!
//! All numbers little-endian. Nothing: a call of this node with all its writes in its delta. 1: the
//! delta came from another node, as formats up to 4 had it. 9, root (32): the same, and the context's
//! root after it. 10, delta (32), seal: an author's seal on a delta that is here. 2, author (32), stamp (8), count of writes to spaces of this node alone
//! (32), fuel used (8), 1 for the application's own error or 0 for its output (1), length
//! (4) and text, then what follows a 2: the same with an answer to be kept.

use bytes::Bytes;

use crate::answer::{AnswerKey, KeyedAnswer, RequestDigest, Said};
use crate::change::{CallEffects, Op};
use crate::delta::{self, MalformedDelta, Reader};
use crate::hlc::Hlc;
use crate::ids::{DeltaId, NodeId, Root};
use crate::seal::Seal;

const REMOTE_OF_FORMAT_4: u8 = 1;
const WITH_PRIVATE_WRITES: u8 = 2;
const REMOTE: u8 = 9;
const SEAL: u8 = 10;
const WITH_ANSWER: u8 = 3;

/// What a journaled delta is, beside what it says itself.
pub(crate) enum Local {
    /// A call of this node.
    Call,
    /// A call of this node with private writes, such of its agenda, or an answer to be kept, which may
    /// have no delta.
    CallWith {
        author: NodeId,
        hlc: Hlc,
        ops: Vec<Op>,
        answer: Option<Box<KeyedAnswer>>,
    },
    /// It came from another node.
    Remote {
        /// The root that it has led to, where that was noted.
        root: Option<Root>,
    },
    /// It is none, but a seal on a delta that is here.
    Seal {
        /// The delta.
        delta: DeltaId,
        seal: Seal,
    },
}

/// Writes into `out` what the delta of `call`, which got the stamp `hlc`, does not have.
pub(crate) fn write_call(out: &mut Vec<u8>, call: &CallEffects, hlc: Hlc) {
    out.clear();
    let private = || call.ops.iter().filter(|op| !op.space.is_replicated());
    match &call.answer {
        None if private().next().is_none() => return,
        None => out.push(WITH_PRIVATE_WRITES),
        Some(answer) => {
            out.push(WITH_ANSWER);
            write_answer(out, answer);
        }
    }
    out.extend_from_slice(call.author.as_bytes());
    out.extend_from_slice(&hlc.bits().to_le_bytes());
    delta::write_op_count(out, private().count());
    for op in private() {
        delta::write_op(out, &op.view());
    }
}

/// Writes into `out` that a delta is another node's, and has led to `root`.
pub(crate) fn write_remote(out: &mut Vec<u8>, root: Root) {
    out.clear();
    out.push(REMOTE);
    out.extend_from_slice(root.as_bytes());
}

/// Writes into `out` a seal on a delta that is here.
pub(crate) fn write_seal(out: &mut Vec<u8>, delta: &DeltaId, seal: &Seal) {
    out.clear();
    out.push(SEAL);
    out.extend_from_slice(delta.as_bytes());
    seal.write(out);
}

/// Reads what was written.
pub(crate) fn read(bytes: &[u8]) -> Result<Local, MalformedDelta> {
    let mut rest = Reader(bytes);
    let local = match bytes.first() {
        None => Local::Call,
        Some(&REMOTE_OF_FORMAT_4) => {
            rest.array::<1>()?;
            Local::Remote { root: None }
        }
        Some(&REMOTE) => {
            rest.array::<1>()?;
            let root = Some(Root::from_bytes(*rest.array()?));
            Local::Remote { root }
        }
        Some(&tag @ (WITH_PRIVATE_WRITES | WITH_ANSWER)) => {
            rest.array::<1>()?;
            let answer = match tag {
                WITH_ANSWER => Some(Box::new(read_answer(&mut rest)?)),
                _ => None,
            };
            let author = NodeId::from_bytes(*rest.array()?);
            let hlc = Hlc::from_bits(u64::from_le_bytes(*rest.array()?));
            let count = rest.u32()?;
            let ops = (0..count).map(|_| Ok(Op::of(&rest.op()?)));
            let ops = ops.collect::<Result<Vec<Op>, MalformedDelta>>()?;
            Local::CallWith {
                author,
                hlc,
                ops,
                answer,
            }
        }
        Some(&SEAL) => {
            rest.array::<1>()?;
            let delta = DeltaId::from_bytes(*rest.array()?);
            let seal = Seal::read(std::mem::take(&mut rest.0));
            let seal = seal.map_err(|_| MalformedDelta("a seal is malformed"))?;
            Local::Seal { delta, seal }
        }
        Some(_) => return Err(MalformedDelta("what is local to its node is unknown")),
    };
    rest.end()?;
    Ok(local)
}

fn write_answer(out: &mut Vec<u8>, answer: &KeyedAnswer) {
    let text = answer.said.text();
    out.extend_from_slice(answer.key.as_bytes());
    out.extend_from_slice(answer.request.as_bytes());
    out.extend_from_slice(&answer.fuel_used.to_le_bytes());
    out.push(u8::from(answer.said.is_error()));
    let length = u32::try_from(text.len()).expect("a batch is far below 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text);
}

fn read_answer(rest: &mut Reader<'_>) -> Result<KeyedAnswer, MalformedDelta> {
    let key = AnswerKey::from_bytes(*rest.array()?);
    let request = RequestDigest::from_bytes(*rest.array()?);
    let fuel_used = u64::from_le_bytes(*rest.array()?);
    let is_error = match rest.array()? {
        [0] => false,
        [1] => true,
        [_] => return Err(MalformedDelta("an answer is neither output nor error")),
    };
    let length = rest.u32()?;
    let text = Bytes::copy_from_slice(rest.bytes(length as usize)?);
    Ok(KeyedAnswer {
        key,
        request,
        fuel_used,
        said: Said::of(text, is_error),
    })
}
