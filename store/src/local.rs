//! What the journal has of a call or a delta beside the delta's canonical bytes: what
//! concerns this node alone. For most calls it is nothing.
//!
//! All numbers little-endian. Nothing: a call of this node with all its writes in its delta. 1: the
//! delta came from another node. 2, author (32), stamp (8), count of private writes
//! (4) and these as in a delta: a call of this node.

use crate::change::{CallEffects, Op};
use crate::delta::{self, MalformedDelta, Reader};
use crate::entry::Space;
use crate::hlc::Hlc;
use crate::ids::NodeId;

const REMOTE: u8 = 1;
const WITH_PRIVATE_WRITES: u8 = 2;

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
    Remote,
}

/// Writes into `out` what the delta of `call` does not have.
pub(crate) fn write_call(out: &mut Vec<u8>, call: &CallEffects) {
    out.clear();
    let private = || call.ops.iter().filter(|op| op.space == Space::Private);
    if private().next().is_none() {
        return;
    }
    out.push(WITH_PRIVATE_WRITES);
    out.extend_from_slice(call.author.as_bytes());
    out.extend_from_slice(&call.hlc.bits().to_le_bytes());
    delta::write_op_count(out, private().count());
    for op in private() {
        delta::write_op(out, &op.view());
    }
}

/// Writes into `out` that a delta is another node's.
pub(crate) fn write_remote(out: &mut Vec<u8>) {
    out.clear();
    out.push(REMOTE);
}

/// Reads what was written.
pub(crate) fn read(bytes: &[u8]) -> Result<Local, MalformedDelta> {
    let mut rest = Reader(bytes);
    let local = match bytes.first() {
        None => Local::Call,
        Some(&REMOTE) => {
            rest.array::<1>()?;
            Local::Remote
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
        Some(_) => return Err(MalformedDelta("what is local to its node is unknown")),
    };
    rest.end()?;
    Ok(local)
}
