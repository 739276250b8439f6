//! What the comparison asks of a library: one live list or text, edits in
//! batches that come out as bytes, and those bytes put into another replica.

/// What a sequence holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Opaque values.
    List,
    /// Characters, counted as Unicode scalar values.
    Text,
}

/// One edit: delete `delete` elements at `at`, then insert there.
#[derive(Clone, Debug)]
pub struct Edit {
    pub at: usize,
    pub delete: usize,
    pub insert: Insert,
}

/// What an edit inserts.
#[derive(Clone, Debug)]
pub enum Insert {
    Text(String),
    Values(Vec<Vec<u8>>),
}

/// A live document of one library.
pub trait Replica: Sized {
    const NAME: &'static str;
    /// Whether it holds values, or text only.
    const LISTS: bool;
    /// How many edits of the paper it is asked for, where it cannot do all.
    const EDITS_MAX: usize = usize::MAX;

    fn new(kind: Kind, peer: u64) -> Self;
    fn load(kind: Kind, peer: u64, saved: &[u8]) -> Result<Self, String>;
    fn save(&mut self) -> Vec<u8>;
    /// Applies the edits in one transaction; returns what other replicas need.
    fn edit(&mut self, edits: &[Edit]) -> Vec<u8>;
    fn apply(&mut self, update: &[u8]) -> Result<(), String>;
    fn len(&self) -> usize;
    /// The whole content: a text's bytes, a list's values one after another.
    fn content(&self) -> Vec<u8>;
    /// Makes the checksum of a changed update right again, as a liar would.
    fn mend(_update: &mut [u8]) {}
}
