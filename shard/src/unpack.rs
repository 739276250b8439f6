//! Unpacking what clients have packed to send less: piece by piece, and never more than a bound
//! of what comes out, however little has come in. For threads that may take long; no shard
//! unpacks anything.

use std::io::{self, ErrorKind, Read};

use corelet_store::Packing;
use flate2::read::MultiGzDecoder;

/// The most that zstd may look back: what it keeps in memory while it unpacks.
const ZSTD_WINDOW_LOG_MAX: u32 = 26;

/// Taken out at once.
const STEP_BYTES: usize = 256 << 10;

/// Why nothing was unpacked.
#[derive(Debug)]
pub(crate) enum NotUnpacked {
    /// More than so many bytes would come out.
    TooLarge { max: u64 },
    /// It is not packed as it is said to be, is cut off, or what is packed could not be read.
    Broken(io::Error),
}

/// What comes out of `packed`, of at most `max` bytes.
pub(crate) fn unpack(
    packing: Packing,
    packed: impl Read,
    max: u64,
) -> Result<Vec<u8>, NotUnpacked> {
    match packing {
        Packing::Plain => take(packed, max),
        Packing::Gzip => take(MultiGzDecoder::new(packed), max),
        Packing::Zstd => {
            let decoder = zstd::stream::read::Decoder::new(packed);
            let mut decoder = decoder.map_err(NotUnpacked::Broken)?;
            decoder
                .window_log_max(ZSTD_WINDOW_LOG_MAX)
                .map_err(NotUnpacked::Broken)?;
            take(decoder, max)
        }
    }
}

fn take(mut from: impl Read, max: u64) -> Result<Vec<u8>, NotUnpacked> {
    let mut out = Vec::new();
    let mut step = vec![0; STEP_BYTES];
    loop {
        let count = match from.read(&mut step) {
            Ok(0) => return Ok(out),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(NotUnpacked::Broken(error)),
        };
        if (out.len() + count) as u64 > max {
            return Err(NotUnpacked::TooLarge { max });
        }
        out.extend_from_slice(&step[..count]);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn packed(packing: Packing, content: &[u8]) -> Vec<u8> {
        match packing {
            Packing::Plain => content.to_owned(),
            Packing::Gzip => {
                let mut encoder =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap()
            }
            Packing::Zstd => zstd::stream::encode_all(content, 3).unwrap(),
        }
    }

    const ALL: [Packing; 3] = [Packing::Plain, Packing::Gzip, Packing::Zstd];

    #[test]
    fn what_was_packed_comes_out_up_to_the_bound_and_not_a_byte_beyond() {
        let content: Vec<u8> = (0..1_000_000_u32)
            .flat_map(|n| (n / 7).to_le_bytes())
            .collect();
        for packing in ALL {
            let packed = packed(packing, &content);
            let max = content.len() as u64;
            assert_eq!(unpack(packing, &packed[..], max).unwrap(), content);
            let refused = unpack(packing, &packed[..], max - 1).unwrap_err();
            assert!(matches!(refused, NotUnpacked::TooLarge { max: found } if found == max - 1));
        }
    }

    /// Counts what is read of it.
    struct Counted<'c>(&'c [u8], &'c mut usize);

    impl Read for Counted<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.0.read(buffer)?;
            *self.1 += count;
            Ok(count)
        }
    }

    /// 256 MiB of nothing, of which less than 1 MiB is ever unpacked.
    #[test]
    fn a_bomb_is_given_up_before_it_has_been_read() {
        for packing in [Packing::Gzip, Packing::Zstd] {
            let bomb = packed(packing, &vec![0; 256 << 20]);
            let mut read = 0;
            let refused = unpack(packing, Counted(&bomb, &mut read), 64 << 10).unwrap_err();
            assert!(
                matches!(refused, NotUnpacked::TooLarge { .. }),
                "{refused:?}"
            );
            // What its reader takes at once is all of a small one.
            assert!(
                read < bomb.len() || bomb.len() < STEP_BYTES,
                "{packing:?}: {read}"
            );
        }
    }

    #[test]
    fn what_is_cut_off_or_no_packing_at_all_is_broken() {
        let content = b"a component, as it were".repeat(1_000);
        for packing in [Packing::Gzip, Packing::Zstd] {
            let packed = packed(packing, &content);
            for end in [1, packed.len() / 2, packed.len() - 1] {
                let error = unpack(packing, &packed[..end], 1 << 20).unwrap_err();
                assert!(
                    matches!(error, NotUnpacked::Broken(_)),
                    "{packing:?}, {end}"
                );
            }
            let error = unpack(packing, &content[..], 1 << 20).unwrap_err();
            assert!(matches!(error, NotUnpacked::Broken(_)), "{packing:?}");
        }
    }
}
