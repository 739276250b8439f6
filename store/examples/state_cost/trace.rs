//! The edits of a text: a recorded trace, if its file is given, or typing that is made up like
//! people type, in runs of letters at a cursor, with backspaces, and now and then a jump to another
//! place. What is done with them is in `texts.rs` and `together.rs`.

use std::error::Error;
use std::path::Path;

use corelet_store::{Content, Sequence, SequenceError};
use serde::Deserialize;

/// Edits of the made-up text, at most: as many as the trace of the paper has.
const MADE_UP_EDITS: usize = 259_778;

/// One edit: `delete` characters go from `at` on, then `insert` comes there.
pub(crate) struct Edit {
    at: usize,
    delete: usize,
    insert: String,
}

impl Edit {
    pub(crate) fn apply(&self, text: &mut Sequence) -> Result<(), SequenceError> {
        if self.delete > 0 {
            text.delete(self.at, self.delete)?;
        }
        if !self.insert.is_empty() {
            text.insert(self.at, Content::Text(self.insert.clone()))?;
        }
        Ok(())
    }
}

/// The edits of one text, in their order.
pub(crate) struct Trace {
    pub(crate) name: String,
    pub(crate) edits: Vec<Edit>,
    /// What the text has to be behind all of them, if that was recorded.
    pub(crate) end: Option<String>,
}

/// The form of the recorded traces: one transaction for each moment of typing.
#[derive(Deserialize)]
struct Recorded {
    #[serde(rename = "endContent")]
    end: Option<String>,
    txns: Vec<Transaction>,
}

#[derive(Deserialize)]
struct Transaction {
    /// Place, characters deleted there, text inserted.
    patches: Vec<(usize, usize, String)>,
}

impl Trace {
    /// The first edits of the trace in a file.
    pub(crate) fn recorded(file: &Path, edits_max: usize) -> Result<Trace, Box<dyn Error>> {
        let recorded: Recorded = serde_json::from_str(&std::fs::read_to_string(file)?)?;
        let patches = recorded.txns.into_iter().flat_map(|txn| txn.patches);
        let mut edits: Vec<Edit> = patches
            .map(|(at, delete, insert)| Edit { at, delete, insert })
            .collect();
        let is_whole = edits.len() <= edits_max;
        edits.truncate(edits_max);
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        Ok(Trace {
            name: format!("the trace {stem}"),
            edits,
            end: recorded.end.filter(|_| is_whole),
        })
    }

    pub(crate) fn made_up(edits_max: usize) -> Trace {
        let (mut random, mut typist) = (Random::new(), Typist::default());
        let mut len = 0;
        let edits = std::iter::repeat_with(|| typist.press(&mut random, &mut len));
        Trace {
            name: "made-up typing".into(),
            edits: edits.take(edits_max.min(MADE_UP_EDITS)).collect(),
            end: None,
        }
    }
}

/// Who types at a cursor.
#[derive(Default)]
pub(crate) struct Typist {
    pub(crate) cursor: usize,
}

impl Typist {
    /// The next key in a text of `len` characters.
    pub(crate) fn press(&mut self, random: &mut Random, len: &mut usize) -> Edit {
        loop {
            match random.below(100) {
                0 => self.cursor = random.below(*len + 1),
                1..=12 if self.cursor > 0 => {
                    self.cursor -= 1;
                    *len -= 1;
                    return Edit {
                        at: self.cursor,
                        delete: 1,
                        insert: String::new(),
                    };
                }
                _ => {
                    let letter = char::from(b'a' + random.below(26) as u8);
                    self.cursor += 1;
                    *len += 1;
                    return Edit {
                        at: self.cursor - 1,
                        delete: 0,
                        insert: letter.into(),
                    };
                }
            }
        }
    }
}

/// The same numbers in every run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new() -> Random {
        Random(1)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }
}
