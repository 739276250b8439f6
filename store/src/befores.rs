//! What a delta has replaced on this node, kept beside it in the log so that the state before it
//! can be read: of each of its writes what the entry was, without what survives it. In the order of
//! the writes, of which no two are of one entry, so that no keys are needed. Authors have the
//! ledger's numbers, so befores never leave it. Worked out in `apply/plan.rs`, read in
//! `past/back.rs`; the reasons are in `store/decisions/0017-befores.md`.
//!
//! All numbers little-endian. Each is what follows (1), and then: 0 the entry stayed as it was, or 1
//! there was none, nothing; 2 a register with one value, its author (4), stamp (8), length
//! (4), bytes; 3 any other state, length (4), sections as in `entry/state.rs`; 4 a state of which
//! something survives, length (4), how it differs from what the write has made of it, as in
//! `entry/difference.rs`.

use crate::entry::{Difference, State, Stored, Value};
use crate::hlc::Hlc;
use crate::version::Dot;

/// The most bytes of befores that a delta has. One that replaces more has none.
pub(crate) const BEFORES_BYTES_MAX: usize = 16 << 20;

/// What an entry was before a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Before<'a> {
    /// What it is after it.
    Same,
    /// Not there.
    Nothing,
    State(Stored<'a>),
    /// Something else than it is after it, of which a part is the same.
    Other(Difference<'a>),
}

impl Before<'_> {
    /// Shows every dot in it to `visit`.
    pub(crate) fn dots(&self, visit: &mut dyn FnMut(Dot)) {
        match self {
            Before::Same | Before::Nothing => {}
            Before::State(state) => state.dots(visit),
            Before::Other(difference) => difference.dots(visit),
        }
    }
}

mod what {
    pub(super) const SAME: u8 = 0;
    pub(super) const NOTHING: u8 = 1;
    pub(super) const VALUE: u8 = 2;
    pub(super) const SECTIONS: u8 = 3;
    pub(super) const DIFFERENCE: u8 = 4;
}

/// Befores of a delta that is worked out.
#[derive(Default)]
pub(crate) struct Befores {
    bytes: Vec<u8>,
    is_over: bool,
}

impl Befores {
    /// Those of the next delta.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.is_over = false;
    }

    /// Notes that the next write has changed nothing.
    pub(crate) fn add_same(&mut self) {
        self.push(|out| out.push(what::SAME));
    }

    /// Notes what the entry of the next write was, and what that has made of it.
    pub(crate) fn add(&mut self, before: Option<&Stored<'_>>, after: Option<&Stored<'_>>) {
        self.push(|out| match (before, after) {
            (None, _) => out.push(what::NOTHING),
            // As nearly every write is. A value is never replaced by itself.
            (Some(Stored::Value(value)), None | Some(Stored::Value(_))) => write_value(out, value),
            (Some(before), None) => write_state(out, before),
            (Some(before), Some(after)) => match Difference::between(before, after) {
                None => write_state(out, before),
                Some(difference) if difference.is_empty() => out.push(what::SAME),
                Some(difference) => {
                    write_long(out, what::DIFFERENCE, |out| difference.write(out));
                }
            },
        });
    }

    fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.is_over {
            return;
        }
        write(&mut self.bytes);
        if self.bytes.len() > BEFORES_BYTES_MAX {
            self.is_over = true;
            self.bytes = Vec::new();
        }
    }

    /// All of them; none if they are too many bytes.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        (!self.is_over).then_some(&self.bytes)
    }

    /// Lets go of memory beyond what they take and so many bytes.
    pub(crate) fn shrink(&mut self, bytes_kept_max: usize) {
        self.bytes.shrink_to(bytes_kept_max);
    }

    /// How much memory they keep.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

fn write_state(out: &mut Vec<u8>, state: &Stored<'_>) {
    match state {
        Stored::Value(value) => write_value(out, value),
        Stored::Sections(state) => write_long(out, what::SECTIONS, |out| state.write(out)),
    }
}

fn write_value(out: &mut Vec<u8>, Value { dot, bytes }: &Value<'_>) {
    out.push(what::VALUE);
    out.extend_from_slice(&dot.author.to_le_bytes());
    out.extend_from_slice(&dot.hlc.bits().to_le_bytes());
    out.extend_from_slice(&length(bytes.len()));
    out.extend_from_slice(bytes);
}

/// What it is, its length, and what is written.
fn write_long(out: &mut Vec<u8>, what: u8, write: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&[what, 0, 0, 0, 0]);
    let start = out.len();
    write(out);
    let written = length(out.len() - start);
    out[start - written.len()..start].copy_from_slice(&written);
}

fn length(bytes: usize) -> [u8; 4] {
    let bytes = u32::try_from(bytes).expect("no entry comes near to 4 GiB");
    bytes.to_le_bytes()
}

/// Befores of a delta that are read.
pub(crate) struct Reading<'a> {
    rest: &'a [u8],
}

impl<'a> Reading<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reading<'a> {
        Reading { rest: bytes }
    }

    /// That of the next write. `None` if they are not those of one.
    pub(crate) fn next(&mut self) -> Option<Before<'a>> {
        read_one(&mut self.rest)
    }

    /// `None` if there are more.
    pub(crate) fn end(self) -> Option<()> {
        self.rest.is_empty().then_some(())
    }
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
        what::DIFFERENCE => {
            let difference = Difference::read(take_long(rest)?).ok()?;
            let difference = (!difference.is_empty()).then_some(difference)?;
            Before::Other(difference)
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

    fn sections() -> State<'static> {
        State {
            element: vec![DOT],
            once: Some(Value {
                dot: DOT,
                bytes: b"once",
            }),
            ..State::default()
        }
    }

    fn some() -> [Option<Stored<'static>>; 3] {
        let bytes = b"value";
        let value = Stored::Value(Value { dot: DOT, bytes });
        [None, Some(value), Some(Stored::Sections(sections()))]
    }

    fn read(bytes: &[u8], writes: u32) -> Option<Vec<Before<'_>>> {
        let mut reading = Reading::new(bytes);
        let befores = (0..writes).map(|_| reading.next()).collect::<Option<_>>()?;
        reading.end().map(|()| befores)
    }

    fn written() -> Befores {
        let mut befores = Befores::default();
        for state in some() {
            befores.add(state.as_ref(), None);
        }
        befores.add_same();
        befores
    }

    /// An element is put into a set again, beside a value that stays.
    fn with_survivor() -> (Befores, Stored<'static>, Stored<'static>) {
        let hlc = Hlc::from_bits(0x0a0b_0c0d_0e0f_1011);
        let next = Dot { author: 5, hlc };
        let mut after = sections();
        after.element = vec![next];
        let (before, after) = (Stored::Sections(sections()), Stored::Sections(after));
        let mut befores = Befores::default();
        befores.add(Some(&before), Some(&after));
        befores.add(Some(&after), Some(&after));
        (befores, before, after)
    }

    #[test]
    fn they_read_back_as_they_were_noted() {
        let befores = written();
        let read_back = read(befores.bytes().unwrap(), 4).unwrap();
        let [_, value, sections] = some();
        let expected = [
            Before::Nothing,
            Before::State(value.unwrap()),
            Before::State(sections.unwrap()),
            Before::Same,
        ];
        assert_eq!(read_back, expected);
        let (befores, before, after) = with_survivor();
        let read = read(befores.bytes().unwrap(), 2).unwrap();
        let [Before::Other(difference), Before::Same] = &read[..] else {
            panic!("{read:?}");
        };
        assert_eq!(difference.before(Some(after)), Some(before));
    }

    #[test]
    fn bytes_that_are_cut_off_or_of_another_delta_are_refused() {
        for (befores, writes) in [(written(), 4), (with_survivor().0, 2)] {
            let bytes = befores.bytes().unwrap();
            for end in 0..bytes.len() {
                assert_eq!(read(&bytes[..end], writes), None);
            }
            assert_eq!(read(bytes, writes - 1), None);
            assert_eq!(read(bytes, writes + 1), None);
        }
        assert_eq!(read(&[5], 1), None);
        // No state and no difference.
        assert_eq!(read(&[what::SECTIONS, 0, 0, 0, 0], 1), None);
        assert_eq!(read(&[what::DIFFERENCE, 0, 0, 0, 0], 1), None);
    }

    #[test]
    fn more_than_the_bound_are_none() {
        let mut befores = Befores::default();
        let bytes = &vec![0; BEFORES_BYTES_MAX / 2][..];
        let half = Stored::Value(Value { dot: DOT, bytes });
        befores.add(Some(&half), None);
        assert!(befores.bytes().is_some());
        befores.add(Some(&half), None);
        assert_eq!(befores.bytes(), None);
        befores.add_same();
        befores.add(None, None);
        assert_eq!(befores.bytes(), None);
        befores.clear();
        befores.add(None, None);
        assert_eq!(befores.bytes(), Some(&[what::NOTHING][..]));
    }

    #[test]
    fn befores_are_what_they_always_were() {
        let (alone, beside) = (written(), with_survivor().0);
        let form =
            |name: &str, befores: &Befores| (name.to_owned(), befores.bytes().unwrap().to_vec());
        let forms = [
            form("of four writes", &alone),
            form("beside what survives", &beside),
        ];
        golden::check("befores.txt", &forms);
    }
}
