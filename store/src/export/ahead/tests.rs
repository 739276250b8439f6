//! How far a copy is read ahead.

use std::io::{self, Cursor};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::super::frame::FrameWriter;
use super::super::row::{Counts, FileKind};
use super::super::source::{RowSink, RowWriter};
use super::*;
use crate::ids::Root;

/// Counts what it gives beyond what was taken in.
struct Metered {
    file: Cursor<Vec<u8>>,
    given: Arc<AtomicUsize>,
    taken: Arc<AtomicUsize>,
    ahead_most: Arc<AtomicUsize>,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        let given = self.given.fetch_add(read, SeqCst) + read;
        let ahead = given - self.taken.load(SeqCst);
        self.ahead_most.fetch_max(ahead, SeqCst);
        Ok(read)
    }
}

fn copy_of(bytes: usize) -> Vec<u8> {
    let frame = FrameWriter::begin(Vec::new(), ExportKind::Backup).unwrap();
    let mut rows = RowWriter::new(frame);
    let part = vec![7; CHUNK_BYTES];
    for _ in 0..bytes / part.len() {
        let (kind, id, bytes) = (FileKind::Blob, [0; 32], &part[..]);
        rows.push(&Row::FilePart { kind, id, bytes }).unwrap();
    }
    rows.end().unwrap()
}

/// Of so many rows, each of some bytes, there would be two hundred times as many bytes of findings.
#[test]
fn behind_a_row_that_is_in_no_context_nothing_more_is_found() {
    let (canonical, past) = (&[][..], None);
    let delta = Row::Delta { canonical, past };
    let mut end = RowWriter::new(FrameWriter::begin(Vec::new(), ExportKind::Context).unwrap());
    end.push(&Row::ContextEnd(
        Counts::default(),
        Root::from_bytes([0; 32]),
    ))
    .unwrap();
    let mut deltas = RowWriter::new(FrameWriter::begin(Vec::new(), ExportKind::Context).unwrap());
    for _ in 0..1000 {
        deltas.push(&delta).unwrap();
    }
    for rows in [end, deltas] {
        let file = rows.end().unwrap();
        let mut frame = FrameReader::begin(Cursor::new(file)).unwrap();
        let mut content = Vec::new();
        assert!(frame.next(&mut content).unwrap());
        let mut chunk = inspect(content, frame.at(), &mut Inspector::default());
        assert_eq!(chunk.findings.len(), 1);
        // Whoever takes rows in gets it first.
        let rows: Vec<_> = chunk.rows().map(|row| row.is_ok()).collect();
        assert_eq!(rows, [true, false]);
    }
}

#[test]
fn a_copy_is_read_ahead_of_who_takes_it_in_and_no_further_than_its_bound() {
    let counters: [Arc<AtomicUsize>; 3] = Default::default();
    let [given, taken, ahead_most] = counters.clone();
    let file = copy_of(3 * AHEAD_BYTES_MAX);
    let bytes = file.len();
    let file = Cursor::new(file);
    let metered = Metered {
        file,
        given,
        taken,
        ahead_most,
    };
    let mut copy = Ahead::begin(metered).unwrap();
    let [given, taken, ahead_most] = counters;
    // Nobody takes any of it.
    while given.load(SeqCst) < AHEAD_BYTES_MAX {
        thread::yield_now();
    }
    while let Some(mut chunk) = copy.next().unwrap() {
        for row in chunk.rows() {
            row.unwrap();
        }
        let at = usize::try_from(chunk.at).unwrap();
        taken.store(at, SeqCst);
        copy.give_back(chunk);
    }
    assert_eq!(given.load(SeqCst), bytes);
    let ahead_most = ahead_most.load(SeqCst);
    // What is around a row, and a chunk, is some bytes each.
    let chunk = CHUNK_BYTES + 1024;
    let bound = AHEAD_BYTES_MAX + AHEAD_BYTES_MAX / CHUNK_BYTES * 1024 + chunk;
    assert!(ahead_most <= bound, "{ahead_most} bytes ahead");
}
