//! Opening what `saved.rs` has made, in parts of so much work. What the bytes say, and why
//! they cannot contradict themselves, is told there.

use std::ops::ControlFlow;

use super::Sequence;
use super::bounds::AUTHOR_ELEMENTS_MAX;
use super::chunk::PIECE_MAX;
use super::content::SequenceKind;
use super::error::SequenceError;
use super::id::{Id, Side};
use super::past::Past;
use super::saved::{LEFT, RIGHT, VERSION};
use super::settle::Settling;
use super::tree::{Author, continues};
use super::walk::Walk;
use super::wire::Reader;
use super::work::{self, Allowance};
use crate::hlc::Hlc;
use crate::ids::NodeId;

/// A saved sequence that is being opened.
#[derive(Debug)]
pub struct Loading {
    author: NodeId,
    saved: Vec<u8>,
    /// How far these are read.
    at: usize,
    sequence: Sequence,
    stage: Stage,
}

/// What comes next.
#[derive(Debug)]
enum Stage {
    /// So many authors, and what is left of one.
    Authors {
        left: usize,
        one: Option<ReadAuthor>,
    },
    /// So many runs, behind the one that begins with `last`.
    Runs { left: usize, last: Option<Id> },
    /// That the first element of this author begins a run, and of those behind it.
    Firsts { author: u32 },
    /// What is above the runs.
    Settling(Settling),
    /// How many elements in a row are visible and deleted in turn.
    Rows(Rows),
    /// What they hold.
    Elements(Elements),
}

/// An author whose updates are being read.
#[derive(Debug)]
struct ReadAuthor {
    key: NodeId,
    last: u64,
    left: usize,
    stamp: u64,
    count: u32,
    past: Past,
}

#[derive(Debug)]
struct Rows {
    total: u64,
    sum: u64,
    rows: Vec<u64>,
}

#[derive(Debug)]
struct Elements {
    walk: Walk,
    /// What is left of what the walk has come to.
    run: Option<(Id, u32)>,
    rows: std::vec::IntoIter<u64>,
    is_visible: bool,
    /// What is left of a row.
    left: u64,
}

impl Loading {
    /// Begins with what [`Sequence::save`] gave. The author is this node's, who edits.
    ///
    /// # Errors
    /// [`SequenceError::Malformed`].
    pub fn begin(author: NodeId, saved: Vec<u8>) -> Result<Self, SequenceError> {
        let mut reader = Reader::new(&saved, 0);
        if reader.byte("a version")? != VERSION {
            return Err(reader.expected("version 1"));
        }
        let kind = match reader.byte("a kind")? {
            0 => SequenceKind::List,
            1 => SequenceKind::Text,
            _ => return Err(reader.expected("a kind")),
        };
        let mut sequence = Sequence::new(kind, author);
        sequence.authors.clear();
        sequence.pasts.clear();
        sequence.numbers.clear();
        let left = reader.count()?;
        Ok(Self {
            author,
            at: reader.at(),
            saved,
            sequence,
            stage: Stage::Authors { left, one: None },
        })
    }

    /// About the bytes of memory that it takes so far, those that are read included.
    pub fn memory_bytes(&self) -> usize {
        let stage = match &self.stage {
            Stage::Settling(settling) => settling.memory_bytes(),
            Stage::Rows(rows) => rows.rows.capacity() * size_of::<u64>(),
            Stage::Elements(elements) => {
                elements.walk.memory_bytes() + elements.rows.len() * size_of::<u64>()
            }
            Stage::Authors { .. } | Stage::Runs { .. } | Stage::Firsts { .. } => 0,
        };
        self.sequence.memory_bytes() + self.saved.capacity() + stage
    }

    /// Does some more of it. Breaks with the sequence when it is whole.
    ///
    /// # Errors
    /// [`SequenceError::Malformed`] for all bytes that no sequence has.
    pub fn step(
        mut self,
        allowance: &Allowance,
    ) -> Result<ControlFlow<Sequence, Self>, SequenceError> {
        while !allowance.is_used_up() {
            work::step();
            let mut reader = Reader::new(&self.saved, self.at);
            let sequence = &mut self.sequence;
            let next = match &mut self.stage {
                Stage::Authors { left, one } => read_author(sequence, &mut reader, left, one)?,
                Stage::Runs { left: 0, .. } => Some(Stage::Firsts { author: 0 }),
                Stage::Runs { left, last } => {
                    *left -= 1;
                    *last = Some(read_run(sequence, &mut reader, *last)?);
                    None
                }
                Stage::Firsts { author } => check_first(sequence, &reader, author)?,
                Stage::Settling(settling) => match settling.step(&mut sequence.tree, allowance) {
                    None => return Err(reader.expected("runs that hang on earlier ones")),
                    Some(false) => None,
                    Some(true) => Some(Stage::Rows(Rows::of(sequence))),
                },
                Stage::Rows(rows) => rows.read(&mut reader)?,
                Stage::Elements(elements) => {
                    if !elements.read(sequence, &mut reader)? {
                        sequence.own = sequence.number(self.author);
                        return Ok(ControlFlow::Break(self.sequence));
                    }
                    None
                }
            };
            self.at = reader.at();
            if let Some(next) = next {
                self.stage = next;
            }
        }
        Ok(ControlFlow::Continue(self))
    }
}

/// Reads an author, or one of its updates. Gives what comes behind them.
fn read_author(
    sequence: &mut Sequence,
    reader: &mut Reader<'_>,
    left: &mut usize,
    one: &mut Option<ReadAuthor>,
) -> Result<Option<Stage>, SequenceError> {
    match one {
        Some(author) if author.left > 0 => author.read_update(reader)?,
        Some(_) => {
            let author = one.take().expect("it is there");
            if author.last == 0 {
                return Err(reader.expected("a stamp"));
            }
            author.end(sequence);
        }
        None if *left == 0 => {
            let left = reader.count()?;
            return Ok(Some(Stage::Runs { left, last: None }));
        }
        None => {
            *left -= 1;
            let key = reader.key()?;
            if sequence.authors.last().is_some_and(|last| last.key >= key) {
                return Err(reader.expected("keys in ascending order"));
            }
            *one = Some(ReadAuthor {
                key,
                last: reader.number()?,
                left: reader.count()?,
                stamp: 0,
                count: 0,
                past: Past::default(),
            });
        }
    }
    Ok(None)
}

impl ReadAuthor {
    fn read_update(&mut self, reader: &mut Reader<'_>) -> Result<(), SequenceError> {
        self.left -= 1;
        let (later, more) = (reader.number()?, reader.counter()?);
        let sum = self.stamp.checked_add(later);
        let sum = sum.zip(self.count.checked_add(more));
        let is_growing = later > 0 && more > 0;
        (self.stamp, self.count) = match sum {
            Some(sum) if is_growing && sum.0 <= self.last && sum.1 <= AUTHOR_ELEMENTS_MAX => sum,
            _ => return Err(reader.expected("growing stamps and counts")),
        };
        self.past.add(Hlc::from_bits(self.stamp), self.count);
        Ok(())
    }

    fn end(mut self, sequence: &mut Sequence) {
        self.past.add(Hlc::from_bits(self.last), self.count);
        let number = sequence.authors.len() as u32;
        sequence.insertions += self.past.insertions().len();
        sequence.numbers.insert(self.key, number);
        sequence.authors.push(Author {
            key: self.key,
            next: self.past.next(),
        });
        sequence.pasts.push(self.past);
    }
}

/// Reads where a run hangs, and gives its first element.
fn read_run(
    sequence: &mut Sequence,
    reader: &mut Reader<'_>,
    last: Option<Id>,
) -> Result<Id, SequenceError> {
    let start = read_id(reader, &sequence.authors)?;
    // The first element of each author begins a run, so that every one is in one.
    let is_next = match last {
        None => start.counter == 0,
        Some(Id { author, counter }) if author == start.author => start.counter > counter,
        Some(Id { author, .. }) => start.author > author && start.counter == 0,
    };
    if start == Id::ROOT || !is_next {
        return Err(reader.expected("the elements that begin runs, in ascending order"));
    }
    let parent = read_id(reader, &sequence.authors)?;
    let side = match reader.byte("a side")? {
        LEFT => Side::Left,
        RIGHT => Side::Right,
        _ => return Err(reader.expected("a side")),
    };
    let is_root_left = parent == Id::ROOT && side == Side::Left;
    if is_root_left || continues(start, parent, side) {
        return Err(reader.expected("a parent on whose side a run can begin"));
    }
    sequence.tree.plant(&sequence.authors, start, parent, side);
    Ok(start)
}

/// An element of one of the authors, or the root.
fn read_id(reader: &mut Reader<'_>, authors: &[Author]) -> Result<Id, SequenceError> {
    let Some(author) = reader.counter()?.checked_sub(1) else {
        return Ok(Id::ROOT);
    };
    let counter = reader.counter()?;
    match authors.get(author as usize) {
        Some(a) if counter < a.next => Ok(Id { author, counter }),
        _ => Err(reader.expected("an element of an author above")),
    }
}

fn check_first(
    sequence: &Sequence,
    reader: &Reader<'_>,
    author: &mut u32,
) -> Result<Option<Stage>, SequenceError> {
    let Some(one) = sequence.authors.get(*author as usize) else {
        return Ok(Some(Stage::Settling(Settling::default())));
    };
    let first = Id {
        author: *author,
        counter: 0,
    };
    if one.next > 0 && !sequence.tree.is_start(first) {
        return Err(reader.expected("a run for each author's first element"));
    }
    *author += 1;
    Ok(None)
}

impl Rows {
    fn of(sequence: &Sequence) -> Self {
        Self {
            total: sequence.authors.iter().map(|a| u64::from(a.next)).sum(),
            sum: 0,
            rows: Vec::new(),
        }
    }

    fn read(&mut self, reader: &mut Reader<'_>) -> Result<Option<Stage>, SequenceError> {
        if self.sum == self.total {
            return Ok(Some(Stage::Elements(Elements {
                walk: Walk::new(),
                run: None,
                rows: std::mem::take(&mut self.rows).into_iter(),
                is_visible: false,
                left: 0,
            })));
        }
        let row = reader.number()?;
        self.sum = match self.sum.checked_add(row) {
            Some(sum) if sum <= self.total && (row > 0 || self.rows.is_empty()) => sum,
            _ => return Err(reader.expected("as many elements as the authors have")),
        };
        self.rows.push(row);
        Ok(None)
    }
}

impl Elements {
    /// Reads what one piece holds. Tells whether there was one.
    fn read(
        &mut self,
        sequence: &mut Sequence,
        reader: &mut Reader<'_>,
    ) -> Result<bool, SequenceError> {
        let run = self.run.take();
        let run = run.or_else(|| self.walk.next(&sequence.tree, &sequence.authors));
        let Some((first, len)) = run else {
            return match reader.is_empty() {
                true => Ok(false),
                false => Err(reader.expected("no more values than elements")),
            };
        };
        while self.left == 0 {
            let row = self.rows.next();
            self.left = row.expect("the rows have as many as the walk");
            self.is_visible = !self.is_visible;
        }
        let mut part = u32::try_from(self.left).unwrap_or(u32::MAX).min(len);
        if self.is_visible {
            // As they will lie, so that nothing is in memory twice.
            part = part.min(PIECE_MAX as u32);
            let content = reader.elements(sequence.kind, part as usize)?;
            part = content.len() as u32;
            sequence.pieces.push(first, content);
        } else {
            sequence.pieces.push_deleted(first, part);
        }
        self.left -= u64::from(part);
        self.run = (part < len).then(|| (first.plus(part), len - part));
        Ok(true)
    }
}
