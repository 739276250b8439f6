//! What a blob costs beside a plain file: `blob_cost DIR [MIB [ROUNDS]]` writes and
//! reads a content of so many MiB (256) both ways, in turn, for some rounds (7), and
//! prints the medians. A plain write is flushed and renamed, too, and all reading is
//! from the page cache, so what differs is hashing and the steps in between.

use std::error::Error;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use corelet_store::{BLOB_GROUP_BYTES, BlobId, BlobLimit, Blobs};

/// What comes at a time, as from a connection, and goes.
const PIECE_BYTES: usize = 64 << 10;

/// Reads from the middle in a round.
const READS: u64 = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let dir = args.get(1).ok_or("usage: blob_cost DIR [MIB [ROUNDS]]")?;
    let number = |at: usize, default: usize| {
        args.get(at)
            .map_or(Ok(default), |text| text.parse::<usize>())
    };
    let (mib, rounds) = (number(2, 256)?, number(3, 7)?);
    let mut content = vec![0; mib << 20];
    let mut random = blake3::Hasher::new();
    random
        .update(b"blob_cost")
        .finalize_xof()
        .fill(&mut content);
    let dir = Path::new(dir);
    fs::create_dir_all(dir.join("blobs"))?;
    let blobs = Blobs::open(dir.join("blobs"))?;
    let plain = dir.join("plain");

    let mut times: [Vec<Duration>; 6] = Default::default();
    let mut note = |what: usize, begin: Instant| times[what].push(begin.elapsed());
    let mut id = BlobId::of(&content);
    for _ in 0..rounds {
        let begin = Instant::now();
        write_plain(&plain, &content)?;
        note(0, begin);

        let begin = Instant::now();
        let mut writer = blobs.writer(Some(id), BlobLimit::FORMAT)?;
        for piece in content.chunks(PIECE_BYTES) {
            writer.write(piece)?;
        }
        id = writer.finish()?.id();
        note(1, begin);

        let begin = Instant::now();
        let mut file = File::open(&plain)?;
        let mut group = vec![0; BLOB_GROUP_BYTES];
        let mut bytes = 0;
        loop {
            match file.read(&mut group)? {
                0 => break,
                read => bytes += std::hint::black_box(&group[..read]).len(),
            }
        }
        note(2, begin);
        assert_eq!(bytes, content.len());

        let begin = Instant::now();
        let mut reader = blobs.reader(id)?.ok_or("the blob is gone")?;
        let mut at = 0;
        loop {
            match std::hint::black_box(reader.part(at)?).len() {
                0 => break,
                read => at += read as u64,
            }
        }
        note(3, begin);
        assert_eq!(at, content.len() as u64);

        let begin = Instant::now();
        std::hint::black_box(BlobId::of(&content));
        note(4, begin);

        let begin = Instant::now();
        for n in 0..READS {
            let at = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % content.len() as u64;
            let mut some = [0; 4096];
            let mut reader = blobs.reader(id)?.ok_or("the blob is gone")?;
            reader.read_at(at, &mut some)?;
        }
        note(5, begin);
    }
    let [wrote, stored, read, verified, hashed, opened] = times.map(|mut times| {
        times.sort();
        times[times.len() / 2]
    });
    println!("{mib} MiB, medians of {rounds} rounds, in MiB/s; id {id}");
    let line = |what: &str, time: Duration, than: Option<Duration>| {
        let than = than.map_or(String::new(), |than| {
            let times = time.as_secs_f64() / than.as_secs_f64();
            format!("  {times:.2} times as long")
        });
        println!("{what:<24}{:>8.0}{than}", mib as f64 / time.as_secs_f64());
    };
    line("plain write, flushed", wrote, None);
    line("blob written", stored, Some(wrote));
    line("plain read", read, None);
    line("blob read, verified", verified, Some(read));
    line("blake3 alone", hashed, None);
    println!(
        "4 KiB from anywhere, opened anew each time: {:.0} us",
        opened.as_secs_f64() * 1e6 / READS as f64
    );
    Ok(())
}

fn write_plain(path: &Path, content: &[u8]) -> Result<(), Box<dyn Error>> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    for piece in content.chunks(PIECE_BYTES) {
        file.write_all(piece)?;
    }
    file.sync_all()?;
    fs::rename(&new, path)?;
    Ok(File::open(path.parent().ok_or("a file is in a directory")?)?.sync_all()?)
}
