//! `corelet blob`: put, get, ls, info, rm.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use corelet_store::BlobId;
use serde_json::json;

use super::args::Global;
use super::args::blob::BlobCommand;
use super::context::path_part;
use super::failure::{Exit, Failure};
use super::kept::{STDOUT, copy, is_stdout, keep, open_file};
use super::output::{Out, date, size};
use super::progress::during;
use crate::api;

pub(super) fn run(command: &BlobCommand, global: &Global, out: &Out) -> Result<(), Failure> {
    match command {
        BlobCommand::Put { file, id } => put(file, id.as_deref(), global, out),
        BlobCommand::Get { blob, to } => get(blob, to.as_deref(), global, out),
        BlobCommand::Ls { after, limit } => {
            let mut path = format!("/v1/blobs?limit={limit}");
            if let Some(after) = after {
                path.push_str("&after=");
                path.push_str(path_part(after)?);
            }
            let client = super::client(global)?;
            let page: api::Blobs = during(out, "listing the blobs", || client.get(&path))?;
            let rows = page.blobs.iter().map(row);
            out.rows(&HEADINGS, rows, &page)?;
            if let Some(next) = &page.next {
                out.say(&format!("there are more: --after {next}"));
            }
            Ok(())
        }
        BlobCommand::Info { blob } => {
            let path = format!("{}/info", path(blob)?);
            let client = super::client(global)?;
            let info: api::BlobInfo = during(out, "looking at the blob", || client.get(&path))?;
            out.rows(&HEADINGS, [row(&info.blob)], &info)?;
            for context in &info.contexts {
                out.say(&format!("attached to context {context}"));
            }
            if info.held {
                out.say("somebody uploads it, or is about to attach it");
            }
            Ok(())
        }
        BlobCommand::Rm { blob } => {
            let (client, path) = (super::client(global)?, path(blob)?);
            during(out, "removing the blob", || client.delete(&path))?;
            out.done(&format!("removed {blob}"), || json!({ "removed": blob }))
        }
    }
}

const HEADINGS: [&str; 3] = ["id", "size", "used"];

fn row(blob: &api::Blob) -> Vec<String> {
    vec![
        blob.id.clone(),
        blob.size.map_or_else(|| "damaged".to_owned(), size),
        date(blob.used_unix_ms),
    ]
}

fn path(blob: &str) -> Result<String, Failure> {
    Ok(format!("/v1/blobs/{}", path_part(blob)?))
}

fn put(file: &Path, id: Option<&str>, global: &Global, out: &Out) -> Result<(), Failure> {
    let mut path = "/v1/blobs".to_owned();
    if let Some(id) = id {
        path.push_str("?id=");
        path.push_str(path_part(id)?);
    }
    let (content, bytes): (Box<dyn Read>, _) = match file.as_os_str() == "-" {
        true => (Box::new(io::stdin()), None),
        false => {
            let (opened, found) = open_file(file, "the content is")?;
            // Others say nothing of how much comes.
            (Box::new(opened), found.is_file().then_some(found.len()))
        }
    };
    let client = super::client(global)?;
    let uploaded = during(out, "uploading", || client.upload(&path, content, bytes))?;
    out.text(&uploaded.id, || &uploaded)
}

fn get(blob: &str, to: Option<&Path>, global: &Global, out: &Out) -> Result<(), Failure> {
    let path = path(blob)?;
    let mut body = super::client(global)?.download(&path)?;
    let Some(file) = to.filter(|file| !is_stdout(file)) else {
        copy(&mut body, &mut io::stdout().lock(), "blob", STDOUT)?;
        return Ok(());
    };
    let expected: Option<BlobId> = blob.parse().ok();
    let place = file.display().to_string();
    let save = || keep(file, |part| fetch(body, part, &place, expected));
    let ((), bytes) = during(out, "downloading", save)?;
    out.done(
        &format!("saved {blob} to {} ({})", file.display(), size(bytes)),
        || json!({ "id": blob, "file": file, "size": bytes }),
    )
}

/// Fetches a content and compares it with its id.
fn fetch(
    body: impl Read,
    mut part: &File,
    place: &str,
    expected: Option<BlobId>,
) -> Result<(), Failure> {
    let mut hasher = blake3::Hasher::new();
    let mut hashed = HashedRead {
        body,
        hasher: &mut hasher,
    };
    copy(&mut hashed, &mut part, "blob", place)?;
    let found = BlobId::from_bytes(*hasher.finalize().as_bytes());
    match expected == Some(found) {
        true => Ok(()),
        false => Err(Failure::new(
            Exit::Failed,
            format!(
                "what came is blob {found} and not the one that was asked for; nothing is kept"
            ),
        )),
    }
}

/// Hashes what is read.
struct HashedRead<'h, R> {
    body: R,
    hasher: &'h mut blake3::Hasher,
}

impl<R: Read> Read for HashedRead<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.body.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}
