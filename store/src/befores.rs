//! What a delta has replaced on this node, kept beside it in the log so that the state before it
//! can be read: of each of its writes what the entry was. In the order of the writes, so
//! that no keys are needed. Authors have the ledger's numbers, so befores never leave it.
//! Worked out in `apply/plan.rs`, read in `past/back.rs`; the reasons are in
//! `store/decisions/0017-befores.md`.
//!
//! All numbers little-endian. Each is what follows (1), and then: 0 the entry stayed as it was, or 1
//! there was none, nothing; 2 a register with one value, its author (4), stamp (8), length
//! (4), bytes; 3 any other state, length (4), sections as in `entry/state.rs`.

use crate::entry::{State, Stored, Value};
use crate::hlc::Hlc;
use crate::version::Dot;

/// The most bytes of befores that a delta has. One that replaces more has none.
pub(crate) const BEFORES_BYTES_MAX: usize = 16 << 20;

/// What an entry was before a write.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart where it is read"
)]
pub(crate) enum Before<'a> {
    /// What it is after it.
    Same,
    /// Not there.
    Nothing,
    State(Stored<'a>),
}

mod what {
    pub(super) const SAME: u8 = 0;
    pub(super) const NOTHING: u8 = 1;
    pub(super) const VALUE: u8 = 2;
    pub(super) const SECTIONS: u8 = 3;
}

/// Befores of a delta that is worked out.
#[derive(Default)]
pub(crate) struct Befores {
    bytes: Vec<u8>,
    /// Where the last one begins.
    last: usize,
    is_over: bool,
}

impl Befores {
    /// Those of the next delta.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.last = 0;
        self.is_over = false;
    }

    /// Notes what the entry of the next write is before it.
    pub(crate) fn add(&mut self, before: Option<&Stored<'_>>) {
        if self.is_over {
            return;
        }
        let out = &mut self.bytes;
        self.last = out.len();
        match before {
            None => out.push(what::NOTHING),
            Some(Stored::Value(Value { dot, bytes })) => {
                out.push(what::VALUE);
                out.extend_from_slice(&dot.author.to_le_bytes());
                out.extend_from_slice(&dot.hlc.bits().to_le_bytes());
                out.extend_from_slice(&length(bytes.len()));
                out.extend_from_slice(bytes);
            }
            Some(Stored::Sections(state)) => {
                out.extend_from_slice(&[what::SECTIONS, 0, 0, 0, 0]);
                let start = out.len();
                state.write(out);
                let written = length(out.len() - start);
                out[start - written.len()..start].copy_from_slice(&written);
            }
        }
        if out.len() > BEFORES_BYTES_MAX {
            self.is_over = true;
            self.bytes = Vec::new();
        }
    }

    /// The write that was noted last has changed nothing.
    pub(crate) fn last_is_same(&mut self) {
        if !self.is_over {
            self.bytes.truncate(self.last);
            self.bytes.push(what::SAME);
        }
    }

    /// All of them; none if they are too many bytes.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        (!self.is_over).then_some(&self.bytes)
    }

    /// How much memory they keep.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

fn length(bytes: usize) -> [u8; 4] {
    let bytes = u32::try_from(bytes).expect("no entry comes near to 4 GiB");
    bytes.to_le_bytes()
}

/// Shows the befores of a delta with so many writes to `visit`. `None` if they are not those
/// of one: then some may have been shown.
pub(crate) fn each<'a>(
    bytes: &'a [u8],
    writes: u32,
    mut visit: impl FnMut(Before<'a>),
) -> Option<()> {
    let mut rest = bytes;
    for _ in 0..writes {
        visit(read_one(&mut rest)?);
    }
    rest.is_empty().then_some(())
}

fn read_one<'a>(rest: &mut &'a [u8]) -> Option<Before<'a>> {
    let (&what, after) = rest.split_first()?;
    *rest = after;
    Some(match what {
        what::SAME => Before::Same,
        what::NOTHING => Before::Nothing,
        what::VALUE => {
            let author = u32::from_le_bytes(*take(rest)?);
            let hlc = Hlc::from_bits(u64::from_le_bytes(*take(rest)?));
            let dot = Dot { author, hlc };
            let bytes = take_long(rest)?;
            Before::State(Stored::Value(Value { dot, bytes }))
        }
        what::SECTIONS => {
            let state = State::read(take_long(rest)?).ok()?;
            let state = (!state.is_empty()).then_some(state)?;
            Before::State(Stored::Sections(state))
        }
        _ => return None,
    })
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(bytes)
}

fn take_long<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_le_bytes(*take(rest)?);
    let (bytes, after) = rest.split_at_checked(length as usize)?;
    *rest = after;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    const DOT: Dot = Dot {
        author: 3,
        hlc: Hlc::from_bits(0x0102_0304_0506_0708),
    };

    fn some() -> [Option<Stored<'static>>; 4] {
        let state = State {
            element: vec![DOT],
            once: Some(Value {
                dot: DOT,
                bytes: b"once",
            }),
            ..State::default()
        };
        let bytes = b"value";
        let value = Stored::Value(Value { dot: DOT, bytes });
        [
            None,
            Some(value.clone()),
            Some(Stored::Sections(state)),
            Some(value),
        ]
    }

    fn read(bytes: &[u8], writes: u32) -> Option<Vec<Before<'_>>> {
        let mut befores = Vec::new();
        each(bytes, writes, |before| befores.push(before)).map(|()| befores)
    }

    fn written() -> Befores {
        let mut befores = Befores::default();
        for state in some() {
            befores.add(state.as_ref());
        }
        befores.last_is_same();
        befores
    }

    #[test]
    fn they_read_back_as_they_were_noted() {
        let befores = written();
        let read = read(befores.bytes().unwrap(), 4).unwrap();
        let [_, value, sections, _] = some();
        let expected = [
            Before::Nothing,
            Before::State(value.unwrap()),
            Before::State(sections.unwrap()),
            Before::Same,
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn bytes_that_are_cut_off_or_of_another_delta_are_refused() {
        let befores = written();
        let bytes = befores.bytes().unwrap();
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end], 4), None);
        }
        assert_eq!(read(bytes, 3), None);
        assert_eq!(read(bytes, 5), None);
        assert_eq!(read(&[4], 1), None);
    }

    #[test]
    fn more_than_the_bound_are_none() {
        let mut befores = Befores::default();
        let bytes = &vec![0; BEFORES_BYTES_MAX / 2][..];
        let half = Stored::Value(Value { dot: DOT, bytes });
        befores.add(Some(&half));
        assert!(befores.bytes().is_some());
        befores.add(Some(&half));
        assert_eq!(befores.bytes(), None);
        befores.last_is_same();
        befores.add(None);
        assert_eq!(befores.bytes(), None);
        befores.clear();
        befores.add(None);
        assert_eq!(befores.bytes(), Some(&[what::NOTHING][..]));
    }

    #[test]
    fn befores_are_what_they_always_were() {
        let befores = written();
        let form = (
            "of four writes".to_owned(),
            befores.bytes().unwrap().to_vec(),
        );
        golden::check("befores.txt", &[form]);
    }
}
