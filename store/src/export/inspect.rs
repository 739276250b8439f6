//! What rows say of each other, and no ledger needs to be asked for: whether the trie is the one
//! of the entries, and the log the one that has led to the heads. Sees rows in their order, before
//! or while they are taken in, and knows authors by the numbers of the file. What it cannot make
//! sense of it passes over, as whoever takes the row in refuses it; so what is wrong is told in
//! the same words wherever this is done, on the thread that reads ahead or on that of the ledger.

mod trie;

use self::trie::IncomingTrie;
use super::authors::NamedAuthors;
use super::row::Row;
use crate::delta::DeltaView;
use crate::entry::{State, Stored, Value, check_placement};
use crate::error::ImportError;
use crate::hlc::Hlc;
use crate::ids::{ContextId, DeltaId};
use crate::record::Head;
use crate::verify::Chain;

/// Looks at rows of one context after the other.
#[derive(Default)]
pub(super) struct Inspector {
    context: Option<Inspection>,
}

/// A row with which nothing is wrong that can be seen without a ledger.
pub(super) struct Inspected<'a> {
    pub(super) row: Row<'a>,
    pub(super) finding: Finding,
}

/// What else was found at a row.
pub(super) enum Finding {
    /// Nothing that would not be in the row.
    None,
    /// A delta, and its id, which takes a hash of all of it.
    Delta { id: DeltaId, hlc: Hlc },
    /// The end of a context.
    End(Box<Agreement>),
}

/// Whether the rows of a context agree with each other.
pub(super) struct Agreement {
    /// The trie with the entries.
    pub(super) trie: Result<(), ImportError>,
    /// The log with its heads. If not, whoever reads it again says why.
    pub(super) is_log_right: bool,
}

/// A context of which rows come.
struct Inspection {
    id: ContextId,
    authors: NamedAuthors,
    /// What comes behind its head.
    content: Option<Content>,
}

struct Content {
    head: Head,
    trie: IncomingTrie,
    /// The deltas that came, until one does not belong there.
    chain: Option<Chain>,
}

impl Inspector {
    /// The next row.
    pub(super) fn row<'a>(&mut self, row: Row<'a>) -> Result<Inspected<'a>, ImportError> {
        let finding = self.find(&row)?;
        Ok(Inspected { row, finding })
    }

    fn find(&mut self, row: &Row<'_>) -> Result<Finding, ImportError> {
        if let Row::Context { id, .. } = row {
            self.context = Some(Inspection {
                id: *id,
                authors: NamedAuthors::default(),
                content: None,
            });
        }
        let Some(context) = &mut self.context else {
            return Ok(Finding::None);
        };
        match (row, &mut context.content) {
            (Row::Author { number, node }, _) => {
                // One that is named twice, or too many, is passed over.
                let _ = context.authors.add(*number, *node);
            }
            (Row::Head(fields), content) => {
                // Positions are the ledger's own; the log is cut at one, or at none.
                let head = fields.head(context.id, 1);
                *content = Some(Content {
                    trie: IncomingTrie::new(context.id, head.root, head.replicated),
                    chain: Some(Chain::of(context.id, &head)),
                    head,
                });
            }
            (
                Row::Value {
                    space,
                    key,
                    dot,
                    bytes,
                },
                Some(content),
            ) => {
                let (dot, authors) = (*dot, &context.authors);
                let value = Stored::Value(Value { dot, bytes });
                check_placement(*space, key, &value, authors).map_err(ImportError::malformed)?;
                content.trie.entry(*space, key, &value, authors);
            }
            (Row::Sections { space, key, state }, Some(content)) => {
                if let Ok(state) = State::read(state) {
                    let (entry, authors) = (Stored::Sections(state), &context.authors);
                    check_placement(*space, key, &entry, authors)
                        .map_err(ImportError::malformed)?;
                    if space.is_replicated() {
                        content.trie.entry(*space, key, &entry, authors);
                    }
                }
            }
            (Row::TrieNode { nibbles, node }, Some(content)) => content.trie.node(nibbles, node)?,
            (Row::Delta { canonical, .. }, Some(content)) => return content.delta(canonical),
            (Row::ContextEnd(..), Some(content)) => {
                let agreement = content.end();
                self.context = None;
                return Ok(Finding::End(Box::new(agreement)));
            }
            _ => {}
        }
        Ok(Finding::None)
    }
}

impl Content {
    fn delta(&mut self, canonical: &[u8]) -> Result<Finding, ImportError> {
        let delta = DeltaView::parse(canonical)
            .map_err(|_| ImportError::malformed("a delta in its log is malformed"))?;
        let (id, hlc) = (delta.id(), delta.hlc());
        if let Some(chain) = &mut self.chain
            && chain.meet(&self.head, &delta, &id).is_err()
        {
            self.chain = None;
        }
        Ok(Finding::Delta { id, hlc })
    }

    fn end(&self) -> Agreement {
        let is_right =
            |chain: &Chain| chain.missing(&self.head).is_none() && chain.agrees(&self.head);
        Agreement {
            trie: self.trie.finish(),
            is_log_right: self.chain.as_ref().is_some_and(is_right),
        }
    }
}
