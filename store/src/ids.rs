//! The names of things: typed 32-byte ids, shards and slots. What is stored
//! under them is in `record.rs`; how they become LMDB keys is in `layout.rs`.
//! Plain values, owned by nobody. Start at [`ShardId::of`].

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use xxhash_rust::xxh3::xxh3_64;

/// Bytes in every id.
pub const ID_BYTES: usize = 32;

/// The most shards that a data directory can have.
pub const SHARDS_MAX: u16 = 256;

/// Text that is no id: it must be base58 of exactly 32 bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} must be the base58 text of 32 bytes, as in 4uQeVj5tqViQh7yWWGStvkEG1Zmhx6uasJtWCJziofM, but got {got_chars} characters that are not"
)]
pub struct InvalidId {
    what: &'static str,
    got_chars: usize,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; ID_BYTES]);

        impl $name {
            /// The id with these bytes.
            pub const fn from_bytes(bytes: [u8; ID_BYTES]) -> Self {
                Self(bytes)
            }

            /// The bytes of the id.
            pub const fn as_bytes(&self) -> &[u8; ID_BYTES] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // On the path of every answer, so without an allocation.
                let mut text = [0; five8::BASE58_ENCODED_32_MAX_LEN];
                let len = usize::from(five8::encode_32(&self.0, &mut text));
                f.pad(std::str::from_utf8(&text[..len]).expect("base58 is ASCII"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                decode(text, $what).map(Self)
            }
        }
    };
}

id! {
    /// A node: its Ed25519 public key.
    NodeId, "a node id"
}
id! {
    /// A data directory: 32 random bytes drawn when it was made. Its ledgers
    /// carry it, so that none can be taken for one of another directory.
    DataId, "a data id"
}
id! {
    /// A context: 32 random bytes drawn when it was created.
    ContextId, "a context id"
}
id! {
    /// An application: blake3 of the bytes of its component.
    ApplicationId, "an application id"
}
id! {
    /// A blob: plain blake3 of its content, as `b3sum` shows it in hexadecimal.
    BlobId, "a blob id"
}
id! {
    /// An upload that comes in pieces: 32 random bytes drawn when it was begun.
    UploadId, "an upload id"
}
id! {
    /// A delta: blake3 of its canonical bytes.
    DeltaId, "a delta id"
}
id! {
    /// The digest of a context's state. Equal states have equal roots.
    Root, "a root"
}

impl Root {
    /// The root of a state without entries.
    pub const EMPTY: Root = Root([0; ID_BYTES]);
}

impl ContextId {
    /// A new id from the system's random source.
    pub fn random() -> Self {
        Self(random_bytes())
    }
}

impl UploadId {
    /// A new id from the system's random source.
    pub(crate) fn random() -> Self {
        Self(random_bytes())
    }
}

impl DataId {
    /// A new id from the system's random source.
    pub(crate) fn random() -> Self {
        Self(random_bytes())
    }
}

impl NodeId {
    /// A node id for tests and for nodes that have no key yet.
    pub fn random() -> Self {
        Self(random_bytes())
    }
}

fn random_bytes() -> [u8; ID_BYTES] {
    let mut bytes = [0; ID_BYTES];
    getrandom::fill(&mut bytes).expect("Linux gives random bytes once it has booted");
    bytes
}

fn decode(text: &str, what: &'static str) -> Result<[u8; ID_BYTES], InvalidId> {
    let invalid = || InvalidId {
        what,
        got_chars: text.chars().count(),
    };
    // Base58 of 32 bytes has 32 to 44 characters.
    if !(32..=44).contains(&text.len()) {
        return Err(invalid());
    }
    let mut bytes = [0; ID_BYTES];
    five8::decode_32(text, &mut bytes).map_err(|_| invalid())?;
    Ok(bytes)
}

/// A context's number on its shard: the short prefix of its keys in LMDB.
/// Given once, never given again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContextSlot(u64);

impl ContextSlot {
    /// The slot of a context that does not exist yet: what a caller puts into
    /// the effects of `init`, where the ledger has the slot still to give.
    pub const UNASSIGNED: ContextSlot = ContextSlot(0);

    pub(crate) const FIRST: u64 = 1;

    pub(crate) const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number itself, for logs.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ContextSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many shards a data directory has: fixed when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ShardCount(NonZeroU16);

impl ShardCount {
    /// `None` unless `count` lies in 1..=[`SHARDS_MAX`].
    pub const fn new(count: u16) -> Option<Self> {
        match NonZeroU16::new(count) {
            Some(nonzero) if count <= SHARDS_MAX => Some(Self(nonzero)),
            _ => None,
        }
    }

    /// The count as a number.
    pub const fn get(self) -> u16 {
        self.0.get()
    }

    /// Every shard, in order.
    pub fn shards(self) -> impl ExactSizeIterator<Item = ShardId> {
        (0..self.get()).map(ShardId)
    }
}

impl fmt::Display for ShardCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One shard of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(u16);

impl ShardId {
    /// The shard that owns a context. This is the one place that says so.
    ///
    /// The id is hashed although honest ids are random: one that is not must
    /// not be able to name its shard by its first byte.
    pub fn of(id: &ContextId, count: ShardCount) -> ShardId {
        // The high half of a 64x64 bit product maps the hash evenly onto
        // 0..count without a division.
        let scaled = (u128::from(xxh3_64(id.as_bytes())) * u128::from(count.get())) >> 64;
        ShardId(u16::try_from(scaled).expect("the product's high half is below the count"))
    }

    /// The shard with this number, if there is one.
    pub const fn new(number: u16, count: ShardCount) -> Option<ShardId> {
        if number < count.get() {
            Some(ShardId(number))
        } else {
            None
        }
    }

    /// What somebody has written down; whether there is such a shard is not checked.
    pub(crate) const fn as_written(number: u16) -> ShardId {
        ShardId(number)
    }

    /// The shard's number, from 0.
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_reads_back_from_its_text() {
        for bytes in [
            [0; 32],
            [0xff; 32],
            std::array::from_fn(|i| i as u8),
            random_bytes(),
        ] {
            let id = ContextId::from_bytes(bytes);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn text_that_is_no_id_is_refused() {
        fn check(text: &str) {
            assert!(
                text.parse::<ContextId>().is_err(),
                "{text:?} was taken for an id"
            );
        }
        let good = ContextId::from_bytes([7; 32]).to_string();
        check("");
        check("1");
        check(&good[1..]);
        check(&format!("{good}1"));
        check(&good.replace(&good[3..4], "0"));
        check(&"z".repeat(44)); // more than 32 bytes
        check(&"é".repeat(20));
        check(&"1".repeat(1 << 20));
    }

    #[test]
    fn contexts_spread_evenly_over_shards() {
        for count in [1, 2, 3, 7, SHARDS_MAX] {
            let count = ShardCount::new(count).unwrap();
            let mut owned = vec![0_u32; usize::from(count.get())];
            for n in 0..10_240_u64 {
                let id = ContextId::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes());
                owned[usize::from(ShardId::of(&id, count).number())] += 1;
            }
            let fair = 10_240 / u32::from(count.get());
            assert!(
                owned.iter().all(|&n| n > fair / 4 && n < fair * 4),
                "{count} shards: {owned:?}"
            );
        }
    }

    /// The mapping is part of the disk format: a change of it would look for
    /// every context on the wrong shard.
    #[test]
    fn the_owner_of_a_context_never_changes() {
        let count = ShardCount::new(4).unwrap();
        let owners: Vec<u16> = (0..8)
            .map(|n| ShardId::of(&ContextId::from_bytes([n; 32]), count).number())
            .collect();
        assert_eq!(owners, OWNERS_OF_FORMAT_1);
    }
    const OWNERS_OF_FORMAT_1: [u16; 8] = [2, 3, 3, 1, 2, 0, 0, 1];

    #[test]
    fn shard_counts_are_bounded() {
        assert!(ShardCount::new(0).is_none());
        assert!(ShardCount::new(SHARDS_MAX).is_some());
        assert!(ShardCount::new(SHARDS_MAX + 1).is_none());
    }
}
