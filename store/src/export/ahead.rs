//! A copy that is read ahead of whoever takes it in, on a thread of its own: chunks come from the
//! file, or through a pipe, are compared with their digests, and their rows with each other
//! (`inspect.rs`), while the thread that holds the ledger's transaction puts those before. Only
//! what was compared is handed on, in its order, and an error behind the rows before it: so
//! nothing is told otherwise than by one thread, and of a wrong chunk nothing is put.
//!
//! The thread is never waited for. It ends at its next step once nobody takes chunks any more; but
//! a pipe may never give another byte, and whoever has met an error would wait for that with it.

#[cfg(test)]
mod tests;

use std::io::Read;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::vec::IntoIter;

use super::frame::{CHUNK_BYTES, ExportKind, FrameReader};
use super::inspect::{Finding, Inspected, Inspector};
use super::row::{self, Row};
use super::target::STEP_BYTES;
use crate::delta::Reader;
use crate::error::ImportError;

/// The thread reads on while what was not taken in yet is less than so many bytes: what a step of an import
/// commits at once, so that the next one is there when that is done. A chunk more can be in
/// memory, and the one that is being taken in.
const AHEAD_BYTES_MAX: usize = STEP_BYTES;

const THREAD: &str = "read-ahead";

/// A copy that comes in.
pub(super) struct Ahead {
    kind: ExportKind,
    chunks: Receiver<Result<Option<Chunk>, ImportError>>,
    /// Takes the memory of chunks that were taken in.
    taken: Sender<Vec<u8>>,
    /// How far what was handed on goes, for messages.
    at: u64,
}

/// Rows that are as they were written.
#[derive(Default)]
pub(super) struct Chunk {
    content: Vec<u8>,
    /// How many bytes of it are rows with which nothing is wrong.
    sound: usize,
    /// What was found at its deltas and at ends of contexts, in their order.
    findings: Vec<Finding>,
    /// What is wrong with the row behind these.
    wrong: Option<ImportError>,
    /// How far the file was read.
    at: u64,
}

impl Ahead {
    /// Reads the front of a copy here, and begins with the rest.
    pub(super) fn begin(input: impl Read + Send + 'static) -> Result<Ahead, ImportError> {
        let frame = FrameReader::begin(input)?;
        let (kind, at) = (frame.kind(), frame.at());
        let (sender, chunks) = channel();
        let (taken, returned) = channel();
        let read = move || {
            let last = read_all(frame, &sender, &returned);
            // Nobody may listen any more.
            let _ = last.and_then(|last| sender.send(last).ok());
        };
        let begun = thread::Builder::new().name(THREAD.to_owned()).spawn(read);
        begun.map_err(|source| ImportError::NoReader { source })?;
        Ok(Ahead {
            kind,
            chunks,
            taken,
            at,
        })
    }

    pub(super) fn kind(&self) -> ExportKind {
        self.kind
    }

    /// Shows every row that is left to `visit`. Ends with the first error, its own or that of
    /// `visit`.
    pub(super) fn each_row(
        &mut self,
        visit: &mut dyn FnMut(Inspected<'_>) -> Result<(), ImportError>,
    ) -> Result<(), ImportError> {
        while let Some(mut chunk) = self.next()? {
            chunk.rows().try_for_each(|row| visit(row?))?;
            self.give_back(chunk);
        }
        Ok(())
    }

    /// The next chunk; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<Chunk>, ImportError> {
        let panicked = |_| ImportError::ReaderPanicked { at: self.at };
        let chunk = self.chunks.recv().map_err(panicked)??;
        self.at = chunk.as_ref().map_or(self.at, |chunk| chunk.at);
        Ok(chunk)
    }

    /// A chunk was taken in: as many bytes can be read once more.
    pub(super) fn give_back(&self, chunk: Chunk) {
        // Behind the end of the file nobody waits for it.
        let _ = self.taken.send(chunk.content);
    }
}

impl Chunk {
    /// Its rows, once, and behind them what is wrong.
    pub(super) fn rows(&mut self) -> Rows<'_> {
        Rows {
            rest: Reader(&self.content[..self.sound]),
            findings: std::mem::take(&mut self.findings).into_iter(),
            wrong: self.wrong.take(),
        }
    }
}

/// Rows of a chunk.
pub(super) struct Rows<'c> {
    rest: Reader<'c>,
    findings: IntoIter<Finding>,
    wrong: Option<ImportError>,
}

impl<'c> Iterator for Rows<'c> {
    type Item = Result<Inspected<'c>, ImportError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.0.is_empty() {
            return self.wrong.take().map(Err);
        }
        let inspected = next_row(&mut self.rest).map(|row| {
            let finding = match has_finding(&row) {
                true => self.findings.next(),
                false => None,
            };
            let finding = finding.unwrap_or(Finding::None);
            Inspected { row, finding }
        });
        Some(inspected)
    }
}

/// Of which rows a finding is handed on.
fn has_finding(row: &Row<'_>) -> bool {
    matches!(row, Row::Delta { .. } | Row::ContextEnd(..))
}

fn next_row<'a>(rest: &mut Reader<'a>) -> Result<Row<'a>, ImportError> {
    row::read(rest).map_err(|error| ImportError::malformed(error.0))
}

/// Hands on all chunks but the last word, which it gives; none if nobody takes any more.
fn read_all(
    mut frame: FrameReader<impl Read>,
    chunks: &Sender<Result<Option<Chunk>, ImportError>>,
    returned: &Receiver<Vec<u8>>,
) -> Option<Result<Option<Chunk>, ImportError>> {
    let mut inspector = Inspector::default();
    let mut ahead = 0;
    loop {
        let mut content = Vec::new();
        while let Some(taken) = match ahead < AHEAD_BYTES_MAX {
            true => returned.try_recv().ok(),
            false => Some(returned.recv().ok()?),
        } {
            ahead -= weight(&taken);
            content = taken;
        }
        // What a rare chunk has needed is not kept for all that follow.
        if content.capacity() > 4 * CHUNK_BYTES {
            content = Vec::new();
        }
        match frame.next(&mut content) {
            Ok(true) => {}
            Ok(false) => return Some(Ok(None)),
            Err(error) => return Some(Err(error)),
        }
        ahead += weight(&content);
        let chunk = inspect(content, frame.at(), &mut inspector);
        if chunk.wrong.is_some() {
            return Some(Ok(Some(chunk)));
        }
        chunks.send(Ok(Some(chunk))).ok()?;
    }
}

/// What a chunk counts for: however small it is, there is something around it.
fn weight(content: &[u8]) -> usize {
    content.len().max(CHUNK_BYTES / 16)
}

fn inspect(content: Vec<u8>, at: u64, inspector: &mut Inspector) -> Chunk {
    let mut rest = Reader(&content);
    let mut findings = Vec::new();
    let (mut sound, mut wrong) = (0, None);
    while !rest.0.is_empty() {
        match next_row(&mut rest).and_then(|row| inspector.row(row)) {
            Ok(Inspected { row, finding }) => {
                sound = content.len() - rest.0.len();
                if has_finding(&row) {
                    let is_astray = matches!(finding, Finding::None);
                    findings.push(finding);
                    // A finding is far larger than the smallest such row: of those that are in no
                    // context the first is enough, as whoever takes it in refuses it.
                    if is_astray {
                        wrong = Some(ImportError::malformed("a row is in no context"));
                        break;
                    }
                }
            }
            Err(error) => {
                wrong = Some(error);
                break;
            }
        }
    }
    Chunk {
        content,
        sound,
        findings,
        wrong,
        at,
    }
}
