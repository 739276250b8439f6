//! What the elements of a sequence hold: a text's scalar values, or a list's
//! opaque values. Counting and cutting only; no ids and no order here (see
//! `pieces.rs`). Plain values of whoever owns the sequence.

/// Whether a sequence is a list or a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceKind {
    /// Opaque values.
    List,
    /// Unicode scalar values, which is also how its indices count.
    Text,
}

/// The content of consecutive elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// One byte string an element.
    Values(Vec<Box<[u8]>>),
    /// One scalar value an element.
    Text(String),
}

impl Content {
    /// Nothing, of this kind.
    pub fn empty(kind: SequenceKind) -> Self {
        match kind {
            SequenceKind::List => Content::Values(Vec::new()),
            SequenceKind::Text => Content::Text(String::new()),
        }
    }

    /// The kind of sequence that it fits.
    pub fn kind(&self) -> SequenceKind {
        match self {
            Content::Values(_) => SequenceKind::List,
            Content::Text(_) => SequenceKind::Text,
        }
    }

    /// How many elements.
    pub fn len(&self) -> usize {
        match self {
            Content::Values(values) => values.len(),
            Content::Text(text) => text.chars().count(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        match self {
            Content::Values(values) => values.is_empty(),
            Content::Text(text) => text.is_empty(),
        }
    }

    /// The bytes that the elements have together.
    pub fn bytes(&self) -> usize {
        match self {
            Content::Values(values) => values.iter().map(|value| value.len()).sum(),
            Content::Text(text) => text.len(),
        }
    }

    /// Parts of at most `max` elements, in one pass over all of them.
    pub(super) fn into_parts(self, max: usize) -> Vec<Self> {
        if self.len() <= max {
            return vec![self];
        }
        match self {
            Content::Values(values) => {
                let mut values = values.into_iter();
                let next = || {
                    let part: Vec<_> = values.by_ref().take(max).collect();
                    (!part.is_empty()).then_some(Content::Values(part))
                };
                std::iter::from_fn(next).collect()
            }
            Content::Text(text) => {
                let mut rest = &text[..];
                let next = || {
                    let end = rest.char_indices().nth(max);
                    let (part, behind) = rest.split_at(end.map_or(rest.len(), |(byte, _)| byte));
                    rest = behind;
                    (!part.is_empty()).then(|| Content::Text(part.to_owned()))
                };
                std::iter::from_fn(next).collect()
            }
        }
    }

    /// Takes over what follows it. Both are of one kind.
    pub(super) fn append(&mut self, more: Self) {
        self.put(self.units(), more);
    }

    /// In what it is cut: bytes of a text, values of a list.
    pub(super) fn units(&self) -> usize {
        match self {
            Content::Values(values) => values.len(),
            Content::Text(text) => text.len(),
        }
    }

    /// How many units the first `elements` of those from unit `from` to `to` take.
    pub(super) fn units_of(&self, from: usize, to: usize, elements: usize) -> usize {
        match self {
            Content::Values(_) => elements,
            Content::Text(text) => byte_of(&text[from..to], elements),
        }
    }

    /// Puts more in front of unit `at`. Both are of one kind.
    pub(super) fn put(&mut self, at: usize, more: Self) {
        match (self, more) {
            (Content::Values(values), Content::Values(more)) => drop(values.splice(at..at, more)),
            (Content::Text(text), Content::Text(more)) => text.insert_str(at, &more),
            _ => unreachable!("a sequence holds one kind of content"),
        }
    }

    /// Gives back the room that was for more.
    pub(super) fn shrink_to_fit(&mut self) {
        match self {
            Content::Values(values) => values.shrink_to_fit(),
            Content::Text(text) => text.shrink_to_fit(),
        }
    }

    /// Takes out the units from `from` to `to`.
    pub(super) fn take(&mut self, from: usize, to: usize) -> Self {
        match self {
            Content::Values(values) => Content::Values(values.drain(from..to).collect()),
            Content::Text(text) => Content::Text(text.drain(from..to).collect()),
        }
    }

    /// Appends a copy of the units from `from` to `to` of another.
    pub(super) fn append_part(&mut self, other: &Self, from: usize, to: usize) {
        match (self, other) {
            (Content::Values(values), Content::Values(other)) => {
                values.extend_from_slice(&other[from..to]);
            }
            (Content::Text(text), Content::Text(other)) => text.push_str(&other[from..to]),
            _ => unreachable!("a sequence holds one kind of content"),
        }
    }
}

/// Where the scalar value with this index begins; the end if there is none.
fn byte_of(text: &str, index: usize) -> usize {
    if text.is_ascii() {
        return index.min(text.len());
    }
    text.char_indices()
        .nth(index)
        .map_or(text.len(), |(byte, _)| byte)
}
