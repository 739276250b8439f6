//! The manifest: the one small text file that says what a data directory is.
//! Reading and writing of its text only; the file itself is handled in
//! `data_dir.rs`. A plain value.

use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use crate::error::StoreError;
use crate::ids::{NodeId, ShardCount};

/// The format of the whole data directory. A directory with another is refused.
pub const DATA_FORMAT_VERSION: u32 = 1;

/// The longest manifest that is read.
const MANIFEST_BYTES_MAX: usize = 4096;

/// What a data directory says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// How many shards it has. Part of who owns which context, so it never
    /// follows the machine's cores.
    pub shards: ShardCount,
    /// Whose data it is.
    pub node_id: NodeId,
}

impl Manifest {
    pub(crate) fn to_text(&self) -> String {
        let body = format!(
            "corelet-data\nformat = {DATA_FORMAT_VERSION}\nshards = {}\nnode = {}\n",
            self.shards, self.node_id
        );
        let sum = xxh3_64(body.as_bytes());
        format!("{body}checksum = {sum:016x}\n")
    }

    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Manifest, StoreError> {
        let corrupt = |why| StoreError::Corrupt {
            what: "manifest",
            key: path.display().to_string(),
            why,
        };
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(corrupt("it is too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| corrupt("it is not UTF-8"))?;
        let mut lines = text.split_inclusive('\n');
        if lines.next() != Some("corelet-data\n") {
            return Err(corrupt("its first line is not corelet-data"));
        }
        let mut field = |name: &str| -> Option<&str> {
            lines
                .next()?
                .strip_suffix('\n')?
                .strip_prefix(name)?
                .strip_prefix(" = ")
        };
        // The version comes before everything that may differ between versions,
        // even the checksum.
        let format: u32 = field("format")
            .and_then(|value| value.parse().ok())
            .ok_or_else(|| corrupt("it has no format version"))?;
        if format != DATA_FORMAT_VERSION {
            return Err(StoreError::WrongFormat {
                path: path.to_owned(),
                found: format,
                supported: DATA_FORMAT_VERSION,
            });
        }
        let shards = field("shards")
            .and_then(|value| value.parse().ok())
            .and_then(ShardCount::new)
            .ok_or_else(|| corrupt("it has no valid shard count"))?;
        let node_id = field("node")
            .and_then(|value| value.parse().ok())
            .ok_or_else(|| corrupt("it has no valid node id"))?;
        let manifest = Manifest { shards, node_id };
        // Whole and unchanged means: exactly what we would write.
        if manifest.to_text() != text {
            return Err(corrupt(
                "it was cut off or changed: its checksum does not match",
            ));
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            shards: ShardCount::new(3).unwrap(),
            node_id: NodeId::from_bytes([9; 32]),
        }
    }

    fn parse(text: &[u8]) -> Result<Manifest, StoreError> {
        Manifest::parse(Path::new("/data/manifest"), text)
    }

    #[test]
    fn a_manifest_reads_back() {
        assert_eq!(parse(manifest().to_text().as_bytes()).unwrap(), manifest());
    }

    #[test]
    fn a_manifest_cut_off_anywhere_is_refused() {
        let text = manifest().to_text();
        for length in 0..text.len() {
            let error = parse(&text.as_bytes()[..length]).unwrap_err();
            // A cut version number is a version number, too.
            assert!(
                matches!(
                    error,
                    StoreError::Corrupt {
                        what: "manifest",
                        ..
                    } | StoreError::WrongFormat { .. }
                ),
                "{length}: {error}"
            );
        }
    }

    #[test]
    fn a_manifest_with_any_bit_flipped_is_refused() {
        let text = manifest().to_text().into_bytes();
        for place in 0..text.len() * 8 {
            let mut flipped = text.clone();
            flipped[place / 8] ^= 1 << (place % 8);
            assert!(parse(&flipped).is_err(), "bit {place} went unnoticed");
        }
    }

    #[test]
    fn a_later_format_is_named() {
        let text = manifest().to_text().replace("format = 1", "format = 2");
        let error = parse(text.as_bytes()).unwrap_err();
        assert!(
            matches!(
                error,
                StoreError::WrongFormat {
                    found: 2,
                    supported: 1,
                    ..
                }
            ),
            "{error}"
        );
    }
}
