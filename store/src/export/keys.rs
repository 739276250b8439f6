//! The node's keys, put into a backup by whoever has the directory that they lie in. A server
//! hands them to nobody: who may ask for a backup may not act as the node.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use super::frame::{ExportKind, FrameReader, FrameWriter};
use super::row::{self, Row};
use super::source::{RowSink, RowWriter};
use crate::delta::Reader;
use crate::error::{ExportError, ImportError};
use crate::ids::NodeId;

/// The largest file in the keys' directory that is taken along.
const KEY_BYTES_MAX: u64 = 64 << 10;

/// Whether a file in the keys' directory is one of its own, by its name: editors and the
/// like leave others.
pub(super) fn is_key_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(is_plain)
}

/// Copies a backup from `input` to `out` with what lies in the directory `keys` behind it. Gives
/// whose backup it is.
pub fn add_keys(input: impl Read, keys: &Path, out: impl Write) -> Result<NodeId, ExportError> {
    let refused = |error| ExportError::Refused(Box::new(error));
    let malformed = |why| refused(ImportError::malformed(why));
    let mut frame = FrameReader::begin(input).map_err(refused)?;
    if frame.kind() != ExportKind::Backup {
        return Err(malformed("it is no backup"));
    }
    let mut copy = FrameWriter::begin(out, ExportKind::Backup)?;
    let mut content = Vec::new();
    let mut node = None;
    while frame.next(&mut content).map_err(refused)? {
        if node.is_none() {
            let first = row::read(&mut Reader(&content)).map_err(|error| malformed(error.0))?;
            let Row::Node { id, .. } = first else {
                return Err(malformed("a backup does not begin as one does"));
            };
            node = Some(id);
        }
        copy.rows(&content)?;
    }
    let node = node.ok_or_else(|| malformed("it holds nothing"))?;
    let mut rows = RowWriter::new(copy);
    write_keys(keys, &mut rows)?;
    rows.end()?;
    Ok(node)
}

fn write_keys(keys: &Path, rows: &mut impl RowSink) -> Result<(), ExportError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ExportError::File { path, source }
    };
    for entry in fs::read_dir(keys).map_err(failed(keys))? {
        let path = entry.map_err(failed(keys))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(name) = name.filter(|name| is_key_name(name)) else {
            continue;
        };
        // One that cannot be looked at may be a key, without which the backup has a hole.
        match fs::metadata(&path) {
            Ok(found) if found.is_file() => {}
            Ok(_) => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(&path)(error)),
        }
        let mut bytes = Vec::new();
        let file = File::open(&path).map_err(failed(&path))?;
        let read = file.take(KEY_BYTES_MAX + 1).read_to_end(&mut bytes);
        if read.map_err(failed(&path))? as u64 > KEY_BYTES_MAX {
            let source = io::Error::from(io::ErrorKind::FileTooLarge);
            return Err(ExportError::File { path, source });
        }
        let bytes = &bytes;
        rows.push(&Row::Key { name, bytes })?;
    }
    Ok(())
}
