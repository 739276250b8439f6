//! Proof that an author has made a delta: the delta, those above it up to one that the
//! author has sealed, and the seal. And of what it should not have made: two such
//! deltas, neither of which follows the other. That the one is not behind the other cannot
//! be seen in them: a ledger says so that has the causes of both (`apply/seals.rs`).
//!
//! A branch's bytes, numbers little-endian: seal length (2) and seal, count of deltas
//! (2), and for each, the lowest first, length (4) and canonical bytes.

use bytes::Bytes;

use super::{BadSeal, Seal, Sealed};
use crate::delta::{DeltaView, MalformedDelta, Reader};
use crate::ids::{ContextId, DeltaId, NodeId};

/// The most deltas of a branch, the one in question and the sealed one among them.
pub const BRANCH_DELTAS_MAX: usize = 1024;

/// The most bytes of a branch: a delta that is as large as they come fits in.
pub const BRANCH_BYTES_MAX: usize = 32 << 20;

/// Deltas and a seal that prove nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBranch {
    /// One of the deltas is none.
    #[error(transparent)]
    Delta(#[from] MalformedDelta),
    /// The seal does not hold.
    #[error(transparent)]
    Seal(#[from] BadSeal),
    /// Together they are no proof.
    #[error("not a proof of authorship: {0}")]
    Broken(&'static str),
}

/// The receipt: its author has made [this delta](Branch::delta).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    delta: DeltaId,
    /// The delta first, then each that names the one before as a parent.
    path: Vec<Bytes>,
    sealed: Sealed,
}

/// Two deltas of one author in one context, neither of which follows the other: proof against
/// the author, as a ledger has found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fork {
    /// What is part of the state here.
    pub known: Branch,
    /// What is not.
    pub other: Branch,
}

impl Branch {
    /// Checks the way from the first delta of `path` up to the last, which is the sealed one.
    pub fn check(path: Vec<Bytes>, sealed: Sealed) -> Result<Branch, BadBranch> {
        let bytes: usize = path.iter().map(Bytes::len).sum();
        if path.is_empty() || path.len() > BRANCH_DELTAS_MAX || bytes > BRANCH_BYTES_MAX {
            return Err(BadBranch::Broken("it has no deltas, or too many"));
        }
        let (mut first, mut below, mut last) = (None, None, None);
        for canonical in &path {
            let delta = DeltaView::parse(canonical)?;
            if delta.context() != sealed.context() {
                return Err(BadBranch::Broken("it leads into another context"));
            }
            if below.is_some_and(|below| delta.parents().all(|parent| parent != below)) {
                return Err(BadBranch::Broken("a delta does not follow the one before"));
            }
            let id = delta.id();
            first = first.or(Some((id, delta.author())));
            below = Some(id);
            last = Some(delta.author());
        }
        let author = sealed.author();
        match first {
            Some((delta, maker))
                if maker == author && last == Some(author) && below == Some(sealed.delta()) =>
            {
                Ok(Branch {
                    delta,
                    path,
                    sealed,
                })
            }
            _ => Err(BadBranch::Broken(
                "it does not lead to a delta that its author has sealed",
            )),
        }
    }

    /// The delta that the author has made.
    pub fn delta(&self) -> DeltaId {
        self.delta
    }

    /// Its canonical bytes.
    pub fn canonical(&self) -> &Bytes {
        &self.path[0]
    }

    /// The context of the delta.
    pub fn context(&self) -> ContextId {
        self.sealed.context()
    }

    /// Who has made it.
    pub fn author(&self) -> NodeId {
        self.sealed.author()
    }

    /// Its bytes, to be sent on.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let seal = self.sealed.seal().to_bytes();
        out.extend_from_slice(&(seal.len() as u16).to_le_bytes());
        out.extend_from_slice(&seal);
        out.extend_from_slice(&(self.path.len() as u16).to_le_bytes());
        for canonical in &self.path {
            out.extend_from_slice(&(canonical.len() as u32).to_le_bytes());
            out.extend_from_slice(canonical);
        }
        out
    }

    /// Reads bytes and checks everything, the signature included.
    pub fn read(bytes: &[u8]) -> Result<Branch, BadBranch> {
        let mut rest = Reader(bytes);
        let seal_bytes = rest.u16()?;
        let seal = Seal::read(rest.bytes(seal_bytes.into())?)?;
        let count = usize::from(rest.u16()?);
        if count > BRANCH_DELTAS_MAX {
            return Err(BadBranch::Broken("it has no deltas, or too many"));
        }
        let mut path = Vec::with_capacity(count);
        for _ in 0..count {
            let length = rest.u32()?;
            path.push(Bytes::copy_from_slice(rest.bytes(length as usize)?));
        }
        rest.end()?;
        let sealed = path
            .last()
            .ok_or(BadBranch::Broken("it has no deltas, or too many"))?;
        let sealed = DeltaView::parse(sealed)?;
        let sealed = seal.check(sealed.context(), sealed.id())?;
        Branch::check(path, sealed)
    }

    /// About what it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        let deltas: usize = self.path.iter().map(Bytes::len).sum();
        deltas + 64 * self.path.len() + self.sealed.seal().bytes()
    }
}
