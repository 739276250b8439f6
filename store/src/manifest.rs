//! The manifest: the one small text file that says what a data directory is.
//! Reading and writing of its text only; the file itself is handled in
//! `data_dir.rs`. A plain value.

use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use crate::error::StoreError;
use crate::ids::{DataId, NodeId, ShardCount};

/// The format of the whole data directory. Format 1 did not say whether its
/// ledgers had been made, and is taken over; any other is refused.
pub const DATA_FORMAT_VERSION: u32 = 2;

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
    /// What tells it from every other data directory.
    pub data_id: DataId,
    /// Whether each shard's ledger has been made. From then on one that is missing
    /// is lost, and not new.
    pub(crate) are_ledgers_made: bool,
}

/// What a manifest's text says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Manifest(Manifest),
    /// Format 1: whether the ledgers have been made, only they themselves tell.
    Before {
        shards: ShardCount,
        node_id: NodeId,
    },
}

impl Found {
    pub(crate) fn to_text(&self) -> String {
        match self {
            Found::Manifest(manifest) => manifest.to_text(),
            Found::Before { shards, node_id } => sealed(format!(
                "corelet-data\nformat = 1\nshards = {shards}\nnode = {node_id}\n"
            )),
        }
    }
}

impl Manifest {
    /// What a new directory says of itself.
    pub(crate) fn new(shards: ShardCount, node_id: NodeId) -> Manifest {
        Manifest {
            shards,
            node_id,
            data_id: DataId::random(),
            are_ledgers_made: false,
        }
    }

    pub(crate) fn to_text(&self) -> String {
        let ledgers = match self.are_ledgers_made {
            true => "made",
            false => "being made",
        };
        sealed(format!(
            "corelet-data\nformat = {DATA_FORMAT_VERSION}\nshards = {}\nnode = {}\ndata = {}\nledgers = {ledgers}\n",
            self.shards, self.node_id, self.data_id
        ))
    }

    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Found, StoreError> {
        let corrupt = |why| StoreError::corrupt_file("manifest", path, why);
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
        if !(1..=DATA_FORMAT_VERSION).contains(&format) {
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
        let found = match format {
            1 => Found::Before { shards, node_id },
            _ => Found::Manifest(Manifest {
                shards,
                node_id,
                data_id: field("data")
                    .and_then(|value| value.parse().ok())
                    .ok_or_else(|| corrupt("it has no valid data id"))?,
                are_ledgers_made: match field("ledgers") {
                    Some("made") => true,
                    Some("being made") => false,
                    _ => return Err(corrupt("it does not say whether its ledgers are made")),
                },
            }),
        };
        // Whole and unchanged means: exactly what we would write.
        if found.to_text() != text {
            return Err(corrupt(
                "it was cut off or changed: its checksum does not match",
            ));
        }
        Ok(found)
    }
}

fn sealed(body: String) -> String {
    let sum = xxh3_64(body.as_bytes());
    format!("{body}checksum = {sum:016x}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            data_id: DataId::from_bytes([5; 32]),
            ..Manifest::new(ShardCount::new(3).unwrap(), NodeId::from_bytes([9; 32]))
        }
    }

    fn parse(text: &[u8]) -> Result<Found, StoreError> {
        Manifest::parse(Path::new("/data/manifest"), text)
    }

    #[test]
    fn a_manifest_reads_back() {
        for are_ledgers_made in [false, true] {
            let manifest = Manifest {
                are_ledgers_made,
                ..manifest()
            };
            let found = parse(manifest.to_text().as_bytes()).unwrap();
            assert_eq!(found, Found::Manifest(manifest));
        }
    }

    /// As the program of that time has written it.
    #[test]
    fn a_manifest_of_format_1_reads_back() {
        let text = "corelet-data\nformat = 1\nshards = 3\nnode = cGfHiC6Kgg3FpFZvgwGcswsCRtp4aBP2fzuXRQPizuN\nchecksum = a93b221dbc1a980d\n";
        let found = parse(text.as_bytes()).unwrap();
        let node_id = NodeId::from_bytes([9; 32]);
        let shards = ShardCount::new(3).unwrap();
        assert_eq!(found, Found::Before { shards, node_id });
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
        let text = manifest().to_text().replace("format = 2", "format = 3");
        let error = parse(text.as_bytes()).unwrap_err();
        assert!(
            matches!(
                error,
                StoreError::WrongFormat {
                    found: 3,
                    supported: 2,
                    ..
                }
            ),
            "{error}"
        );
    }
}
