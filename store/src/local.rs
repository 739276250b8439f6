//! What the journal has of a call or a delta beside the delta's canonical bytes: what
//! concerns this node alone. For most calls it is nothing.
//!
//! All numbers little-endian. Nothing: a call of this node with all its writes in its delta. 1: the
//! delta came from another node, as formats up to 4 had it. 9, root (32): the same, and the context's
//! root after it. 10, delta (32), seal: an author's seal on a delta that is here. 2, author (32), stamp (8), count of private writes
//! (4) and these as in a delta: a call of this node.

use crate::change::{CallEffects, Op};
use crate::delta::{self, MalformedDelta, Reader};
use crate::entry::Space;
use crate::hlc::Hlc;
use crate::ids::{DeltaId, NodeId, Root};
use crate::seal::Seal;

const REMOTE_OF_FORMAT_4: u8 = 1;
const WITH_PRIVATE_WRITES: u8 = 2;
const REMOTE: u8 = 9;
const SEAL: u8 = 10;

/// What a journaled delta is, beside what it says itself.
pub(crate) enum Local {
    /// A call of this node.
    Call,
    /// A call of this node with private writes, which may have no delta.
    CallWithPrivateWrites {
        author: NodeId,
        hlc: Hlc,
        ops: Vec<Op>,
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
    let private = || call.ops.iter().filter(|op| op.space == Space::Private);
    if private().next().is_none() {
        return;
    }
    out.push(WITH_PRIVATE_WRITES);
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
        Some(&WITH_PRIVATE_WRITES) => {
            rest.array::<1>()?;
            let author = NodeId::from_bytes(*rest.array()?);
            let hlc = Hlc::from_bits(u64::from_le_bytes(*rest.array()?));
            let count = rest.u32()?;
            let ops = (0..count).map(|_| Ok(Op::of(&rest.op()?)));
            let ops = ops.collect::<Result<Vec<Op>, MalformedDelta>>()?;
            Local::CallWithPrivateWrites { author, hlc, ops }
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
