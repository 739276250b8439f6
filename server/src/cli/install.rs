//! Installing a component from a file. A small one goes in one request. A large one is packed
//! and goes in pieces, which go on where they have got to: after a broken connection by
//! themselves, for a while, and after that when the command is run again. Start at [`install`].

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use corelet_store::ApplicationId;
use serde_json::Value;

use super::failure::{Exit, Failure};
use super::kept::open_file;
use super::output::Out;
use super::progress::Progress;
use crate::api;
use crate::client::{Client, ClientError};

/// From this size on a component goes in pieces.
const LARGE_BYTES: u64 = 1 << 20;

/// Where half of a component's size comes out, and more effort brings little: some 100 MB/s.
const LEVEL: i32 = 6;

/// Tries without a step forward before the command gives up; the pauses between them add up to
/// about 20 seconds, in which a server starts anew.
const TRIES: u32 = 9;

/// So long a server may take to compile what it was asked to before its connection broke.
const COMPILE_PATIENCE: Duration = Duration::from_secs(1_000);

/// Read at once.
const STEP_BYTES: usize = 256 << 10;

/// Uploads a component and waits until it is compiled.
pub(crate) fn install(
    client: &Client,
    file: &Path,
    reuse: Option<&str>,
    out: &Out,
) -> Result<api::Application, Failure> {
    let (opened, found) = open_file(file, "the component is")?;
    // A server that knows of no pieces gets it in one request, like a small one.
    if found.len() >= LARGE_BYTES && knows_pieces(client)? {
        let failed =
            |error| Failure::new(Exit::Failed, format!("packing {}: {error}", file.display()));
        let progress = Progress::begin(out, "packing", Some(found.len()));
        let packed = Packed::of(progress.reading(opened, "packing")).map_err(failed)?;
        drop(progress);
        let progress = Progress::begin(out, "uploading", Some(packed.bytes));
        let sending = Sending {
            client,
            packed: &packed,
            progress: &progress,
        };
        return Ok(sending.install(reuse)?);
    }
    let progress = Progress::begin(out, "uploading", Some(found.len()));
    let installed = client.install(progress.reading(opened, "compiling"), reuse);
    drop(progress);
    Ok(installed?)
}

/// Whether the server takes components in pieces; one from before that does not know the path.
fn knows_pieces(client: &Client) -> Result<bool, ClientError> {
    let mut patience = Patience::NEW;
    loop {
        match client.uploads() {
            Ok(_) => return Ok(true),
            Err(error) if is_of_no_path(&error) => return Ok(false),
            // Who is not there at all is told so at once.
            Err(error @ ClientError::Unreachable { .. }) => return Err(error),
            Err(error) => patience.wait(error)?,
        }
    }
}

/// A component as it travels, in a file that has no name.
struct Packed {
    file: File,
    bytes: u64,
    application: ApplicationId,
}

impl Packed {
    /// The same content is packed to the same bytes, so that another run goes on with them.
    fn of(mut content: impl Read) -> io::Result<Packed> {
        let mut hasher = blake3::Hasher::new();
        let mut encoder = zstd::stream::write::Encoder::new(tempfile::tempfile()?, LEVEL)?;
        let mut step = vec![0; STEP_BYTES];
        loop {
            match content.read(&mut step) {
                Ok(0) => break,
                Ok(count) => {
                    hasher.update(&step[..count]);
                    encoder.write_all(&step[..count])?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let file = encoder.finish()?;
        let bytes = file.metadata()?.len();
        let application = ApplicationId::from_bytes(*hasher.finalize().as_bytes());
        Ok(Packed {
            file,
            bytes,
            application,
        })
    }

    fn piece(&self, offset: u64, bytes_max: u64) -> io::Result<Vec<u8>> {
        let bytes = self.bytes.saturating_sub(offset).min(bytes_max);
        let mut piece = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut piece, offset)?;
        Ok(piece)
    }
}

/// A packed component on its way.
struct Sending<'a> {
    client: &'a Client,
    packed: &'a Packed,
    progress: &'a Progress,
}

/// Tries that are left, and the pauses between them.
struct Patience(u32);

impl Patience {
    const NEW: Patience = Patience(0);

    /// Waits before another try, or gives the error back if there is to be none.
    fn wait(&mut self, error: ClientError) -> Result<(), ClientError> {
        if !is_passing(&error) || self.0 == TRIES {
            return Err(error);
        }
        pause(Duration::from_millis(100 << self.0.min(5)));
        self.0 += 1;
        Ok(())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the thread of a command, and no shard's"
)]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

impl Sending<'_> {
    fn install(&self, reuse: Option<&str>) -> Result<api::Application, ClientError> {
        let (upload, was_there) = self.known_or_begun()?;
        let error = match self.send(upload, reuse) {
            Err(error) if is_useless(&error) => error,
            end => return end,
        };
        // Used up by another run that sends the same, or by a try whose answer was lost.
        if has_name(&error, "unknown_upload")
            && let Some(installed) = self.installed(reuse)?
        {
            return Ok(installed);
        }
        // What was there was begun for the same component, and is another all the same.
        if was_there || has_name(&error, "unknown_upload") {
            let (upload, _) = self.known_or_begun()?;
            return self.send(upload, reuse);
        }
        Err(error)
    }

    /// The application, if it is installed, with the setting that is wanted.
    fn installed(&self, reuse: Option<&str>) -> Result<Option<api::Application>, ClientError> {
        let path = format!("/v1/applications/{}", self.packed.application);
        let mut patience = Patience::NEW;
        loop {
            let found = self.client.get(&path);
            let found = found.and_then(|found: api::Application| match reuse {
                Some(reuse) if reuse != found.reuse => {
                    let reuse = reuse.to_owned();
                    let change = api::ChangeApplication { reuse };
                    self.client.change(&path, &change)
                }
                _ => Ok(found),
            });
            match found {
                Ok(installed) => return Ok(Some(installed)),
                Err(error) if has_name(&error, "unknown_application") => return Ok(None),
                Err(error) => patience.wait(error)?,
            }
        }
    }

    /// One that has begun, and that it was there; or a new one. If the answer that it has begun
    /// is lost, it is found when the next try looks.
    fn known_or_begun(&self) -> Result<(api::Upload, bool), ClientError> {
        let mut patience = Patience::NEW;
        loop {
            let found = match self.known() {
                Ok(Some(upload)) => Ok((upload, true)),
                Ok(None) => self.begin().map(|upload| (upload, false)),
                Err(error) => Err(error),
            };
            match found {
                Ok(found) => return Ok(found),
                // There is no place until somebody ends an upload.
                Err(error) if is_of_places(&error) => return Err(error),
                Err(error) => patience.wait(error)?,
            }
        }
    }

    /// An upload of the same that has begun, by an earlier run most often: the one that has
    /// got furthest.
    fn known(&self) -> Result<Option<api::Upload>, ClientError> {
        let application = self.packed.application.to_string();
        let is_ours = |upload: &api::Upload| {
            upload.application.as_ref() == Some(&application)
                && upload.encoding == "zstd"
                && upload.size == Some(self.packed.bytes)
                && upload.unreadable.is_none()
        };
        let uploads = self.client.uploads()?.uploads.into_iter();
        Ok(uploads.filter(is_ours).max_by_key(|upload| upload.offset))
    }

    fn begin(&self) -> Result<api::Upload, ClientError> {
        let application = self.packed.application.to_string();
        self.client.begin_upload(&application, self.packed.bytes)
    }

    fn send(
        &self,
        mut upload: api::Upload,
        reuse: Option<&str>,
    ) -> Result<api::Application, ClientError> {
        let mut patience = Patience::NEW;
        while upload.offset < self.packed.bytes {
            self.progress.at(upload.offset);
            let piece = self
                .packed
                .piece(upload.offset, upload.piece_bytes_max.max(1));
            let piece = piece.map_err(|error| ClientError::Unreadable {
                reason: error.to_string(),
            })?;
            match self.client.add_to_upload(&upload.id, upload.offset, &piece) {
                Ok(()) => {
                    upload.offset += piece.len() as u64;
                    patience = Patience::NEW;
                }
                Err(error) => match right_offset(&error) {
                    // An answer was lost, or another run sends the same.
                    Some(offset) if offset > upload.offset => upload.offset = offset,
                    // It has lost what it had said to be on its disk.
                    Some(_) => return Err(error),
                    None => {
                        patience.wait(error)?;
                        let before = upload.offset;
                        self.look(&mut upload, &mut patience)?;
                        if upload.offset > before {
                            patience = Patience::NEW;
                        }
                    }
                },
            }
        }
        self.progress.at(self.packed.bytes);
        self.progress.say("compiling".to_owned());
        self.make(&upload, reuse)
    }

    /// Asks how far it has got, until there is an answer.
    fn look(&self, upload: &mut api::Upload, patience: &mut Patience) -> Result<(), ClientError> {
        loop {
            match self.client.show_upload(&upload.id) {
                Ok(found) => {
                    *upload = found;
                    return Ok(());
                }
                Err(error) => patience.wait(error)?,
            }
        }
    }

    /// Has an application made of it. If the answer is lost, the server goes on all the same.
    fn make(
        &self,
        upload: &api::Upload,
        reuse: Option<&str>,
    ) -> Result<api::Application, ClientError> {
        let mut patience = Patience::NEW;
        let began = Instant::now();
        loop {
            match self.client.install_upload(&upload.id, reuse) {
                Ok(installed) => return Ok(installed),
                // A try, or an earlier run's, is still at it.
                Err(error) if has_name(&error, "conflict") => {
                    if began.elapsed() > COMPILE_PATIENCE {
                        return Err(error);
                    }
                    pause(Duration::from_secs(1));
                }
                Err(error) => patience.wait(error)?,
            }
        }
    }
}

/// Whether the server has never heard of what was asked for.
fn is_of_no_path(error: &ClientError) -> bool {
    has_name(error, "not_found") || matches!(error, ClientError::Strange { status: 404, .. })
}

/// Whether all uploads together have what they may.
fn is_of_places(error: &ClientError) -> bool {
    match error {
        ClientError::Refused { document, .. } => document
            .get("limit")
            .and_then(Value::as_str)
            .is_some_and(|limit| limit.starts_with("uploads.")),
        _ => false,
    }
}

/// Whether the same request may work later. An upload that is in use is so for a moment: what
/// came over a connection that has broken is still on its way to the disk.
fn is_passing(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } => true,
        ClientError::Refused { passing, name, .. } => *passing || name == "conflict",
        _ => false,
    }
}

/// Whether what was uploaded is good for nothing.
fn is_useless(error: &ClientError) -> bool {
    ["upload_mismatch", "bad_encoding", "unknown_upload"]
        .iter()
        .any(|name| has_name(error, name))
}

fn has_name(error: &ClientError, wanted: &str) -> bool {
    matches!(error, ClientError::Refused { name, .. } if name == wanted)
}

/// Where the server says that the upload goes on.
fn right_offset(error: &ClientError) -> Option<u64> {
    match error {
        ClientError::Refused { name, document, .. } if name == "upload_offset" => {
            document.get("offset").and_then(Value::as_u64)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_component_is_packed_to_the_same_bytes() {
        let content: Vec<u8> = (0..3_000_000_u32)
            .flat_map(|n| (n / 5).to_le_bytes())
            .collect();
        let pack = || Packed::of(&content[..]).unwrap();
        let (first, second) = (pack(), pack());
        assert!(first.bytes < content.len() as u64 / 2);
        let all = |packed: &Packed| packed.piece(0, u64::MAX).unwrap();
        assert_eq!(all(&first), all(&second));
        let hash = *blake3::hash(&content).as_bytes();
        assert_eq!(first.application, ApplicationId::from_bytes(hash));
        assert_eq!(first.piece(first.bytes - 3, 10).unwrap().len(), 3);
        assert_eq!(first.piece(5, 2).unwrap(), all(&first)[5..7]);
    }
}
