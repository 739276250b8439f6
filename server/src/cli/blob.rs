//! `corelet blob`: put, get, ls, info, rm.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::json;

use super::args::{BlobCommand, Global};
use super::context::path_part;
use super::failure::{Exit, Failure};
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
    let content: Box<dyn Read> = match file.as_os_str() == "-" {
        true => Box::new(io::stdin()),
        false => Box::new(File::open(file).map_err(|error| {
            Failure::failed(&error).advise(format!("the content is {}", file.display()))
        })?),
    };
    let client = super::client(global)?;
    let uploaded = during(out, "uploading", || client.upload(&path, content))?;
    out.text(&uploaded.id, || &uploaded)
}

fn get(blob: &str, to: Option<&Path>, global: &Global, out: &Out) -> Result<(), Failure> {
    let path = path(blob)?;
    let body = super::client(global)?.download(&path)?;
    let Some(file) = to else {
        let mut stdout = io::stdout().lock();
        copy(body, &mut stdout)?;
        return Ok(stdout.flush()?);
    };
    if file.exists() {
        let text = format!("{} is there already; choose another name", file.display());
        return Err(Failure::new(Exit::Failed, text));
    }
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = file.with_file_name(name);
    let bytes = during(out, "downloading", || save(body, &part, file)).inspect_err(|_| {
        let _ = fs::remove_file(&part);
    })?;
    out.done(
        &format!("saved {blob} to {} ({})", file.display(), size(bytes)),
        || json!({ "id": blob, "file": file, "size": bytes }),
    )
}

/// Under its name only when all of it has come.
fn save(body: impl Read, part: &Path, file: &Path) -> Result<u64, Failure> {
    let mut kept = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(part)?;
    let bytes = copy(body, &mut kept)?;
    fs::rename(part, file)?;
    Ok(bytes)
}

fn copy(mut body: impl Read, to: &mut impl Write) -> Result<u64, Failure> {
    io::copy(&mut body, to).map_err(|error| {
        Failure::failed(&error).advise("the blob was broken off; the server's log may say why")
    })
}
