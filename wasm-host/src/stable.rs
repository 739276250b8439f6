//! The stable memory of a turn: the bytes that its guest reads and writes, in blocks that are
//! entries of the context's state ([`Space::Stable`]). A block that a turn has come to stays here until
//! the turn ends, so that reading it again is no more than a copy; what was written becomes
//! entries when the turn has succeeded. Limits, prices and slices are in `functions/stable.rs`.
//!
//! The keys are those of the store's `stable.rs`, which says what they mean.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::costs::HIDDEN_WORK;
use crate::guest_state::{GuestState, Row, Space, StateError, Walk};

/// Bytes by which a stable memory grows, as a linear one does.
pub const STABLE_PAGE_BYTES: u64 = 64 << 10;

/// Bytes that are read and written at once as one entry.
pub const STABLE_BLOCK_BYTES: usize = 1024;

/// What a block counts for among the bytes written: with its key.
pub(crate) const WRITTEN_BYTES: u64 = (STABLE_BLOCK_BYTES + KEY_BYTES) as u64;

/// Bytes of the number that is a block's key.
const KEY_BYTES: usize = size_of::<u32>();

/// Blocks that a turn has only read, and that stay here: 1 MiB. With one more all of them go.
const READ_BLOCKS_MAX: usize = 1024;

/// Blocks that are made entries before the slice may end.
const SAVE_STEP: usize = 256;

const BLOCKS_PER_PAGE: u64 = STABLE_PAGE_BYTES / STABLE_BLOCK_BYTES as u64;

/// No block has this place.
const NOWHERE: usize = usize::MAX;

/// How far reading or writing has come, and what it has taken.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Touched {
    /// Bytes that were read or written.
    pub(crate) bytes: usize,
    /// Entries that were looked for in the state.
    pub(crate) looked_for: u64,
    /// Blocks that were written, and had not been before in this turn.
    pub(crate) written: u64,
    /// Work without a price: what was read for those entries and is not shown.
    pub(crate) unpriced: u64,
}

/// How far opening a stable memory has come.
pub(crate) enum Opening {
    Done(StableMemory),
    /// The slice has to end, for this much work without a price.
    GoesOn {
        before: Vec<u8>,
        unpriced: u64,
    },
}

/// The stable memory as one turn sees it.
pub(crate) struct StableMemory {
    bytes: u64,
    /// The block whose key says how long the memory is, if one of the state does.
    end: Option<u32>,
    has_grown: bool,
    /// Whether it is a block of another node's that says how long it is. An end does so with the next write,
    /// as that block may go.
    lacks_end: bool,
    blocks: Vec<Block>,
    /// Where in `blocks` each number is.
    places: BTreeMap<u32, usize>,
    /// The block that was used last, as that is mostly the next as well, and where it is.
    last: (u32, usize),
    /// How many blocks were not written.
    read: usize,
}

struct Block {
    number: u32,
    /// None if all are zero.
    bytes: Option<Box<[u8; STABLE_BLOCK_BYTES]>>,
    /// Whether the state has an entry for it.
    is_there: bool,
    is_written: bool,
}

/// A place in a block.
struct Part {
    number: u32,
    at: usize,
    bytes: usize,
}

impl StableMemory {
    /// The memory as the state has it, for which its last entry is looked for, in front of `before`
    /// if that is given. What was removed behind it is in the way and without a price, and so walked
    /// over in steps.
    pub(crate) fn open(
        state: &mut dyn GuestState,
        before: Option<&[u8]>,
        unpriced_max: u64,
    ) -> Result<Opening, StateError> {
        let (mut last, mut unpriced) = (None, 0_u64);
        let walk = Walk {
            space: Space::Stable,
            after: before,
            limit: 1,
            reverse: true,
            ..Walk::default()
        };
        state.scan(walk, &mut |key, row| {
            let is_there = row.value().is_some();
            unpriced = unpriced.saturating_add(match row {
                Row::Shown(_) | Row::WrittenOnce(_) | Row::Removed => 0,
                Row::Hidden => HIDDEN_WORK,
                Row::Unseen(bytes) => bytes,
            });
            if is_there || unpriced >= unpriced_max {
                last = Some((is_there, key.to_vec()));
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        let last = match last {
            Some((true, key)) => Some(split_key(&key).ok_or_else(malformed)?),
            Some((false, key)) => {
                return Ok(Opening::GoesOn {
                    before: key,
                    unpriced,
                });
            }
            None => None,
        };
        let bytes = last.map_or(0, |(number, _)| {
            (u64::from(number) / BLOCKS_PER_PAGE + 1) * STABLE_PAGE_BYTES
        });
        Ok(Opening::Done(StableMemory {
            bytes,
            end: last.and_then(|(number, is_end)| is_end.then_some(number)),
            has_grown: false,
            lacks_end: last.is_some_and(|(_, is_end)| !is_end),
            blocks: Vec::new(),
            places: BTreeMap::new(),
            last: (0, NOWHERE),
            read: 0,
        }))
    }

    /// How long it is.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes it longer by whole pages, to at most 4 TiB; the caller has checked how long it may be.
    pub(crate) fn grow(&mut self, pages: u64) {
        self.bytes += pages * STABLE_PAGE_BYTES;
        self.has_grown |= pages > 0;
    }

    /// Whether all of these bytes are there.
    pub(crate) fn has(&self, offset: u64, count: u64) -> bool {
        let end = offset.checked_add(count);
        end.is_some_and(|end| end <= self.bytes)
    }

    /// Appends bytes, which are there, to `out`: all of them, or those of the blocks up to the one with which
    /// the work without a price comes to `unpriced_max`.
    pub(crate) fn read(
        &mut self,
        state: &mut dyn GuestState,
        offset: u64,
        count: usize,
        unpriced_max: u64,
        out: &mut Vec<u8>,
    ) -> Result<Touched, StateError> {
        let mut touched = Touched::default();
        while touched.bytes < count {
            let part = part_at(offset + touched.bytes as u64, count - touched.bytes);
            let place = self.come_to(state, part.number, &mut touched)?;
            match &self.blocks[place].bytes {
                Some(bytes) => out.extend_from_slice(&bytes[part.at..part.at + part.bytes]),
                None => out.resize(out.len() + part.bytes, 0),
            }
            touched.bytes += part.bytes;
            if touched.unpriced >= unpriced_max {
                break;
            }
        }
        Ok(touched)
    }

    /// Writes bytes to where some are, as far as [`read`](Self::read) reads.
    pub(crate) fn write(
        &mut self,
        state: &mut dyn GuestState,
        offset: u64,
        bytes: &[u8],
        unpriced_max: u64,
    ) -> Result<Touched, StateError> {
        let (mut rest, mut touched) = (bytes, Touched::default());
        while !rest.is_empty() {
            let part = part_at(offset + touched.bytes as u64, rest.len());
            let (now, behind) = rest.split_at(part.bytes);
            let place = self.come_to(state, part.number, &mut touched)?;
            let block = &mut self.blocks[place];
            if !block.is_written {
                block.is_written = true;
                self.read -= 1;
                touched.written += 1;
            }
            let own = block.bytes.get_or_insert_with(zeros);
            own[part.at..part.at + part.bytes].copy_from_slice(now);
            touched.bytes += part.bytes;
            rest = behind;
            if touched.unpriced >= unpriced_max {
                break;
            }
        }
        Ok(touched)
    }

    /// Writes bytes to the block of the read or write before, if all of them go there and it was written
    /// before: then there is nothing to look for, and nothing to pay but the bytes. Tells whether it did.
    #[inline]
    pub(crate) fn write_again(&mut self, offset: u64, bytes: &[u8]) -> bool {
        let (number, place) = self.last;
        let Some(block) = self.blocks.get_mut(place) else {
            return false;
        };
        let at = offset.wrapping_sub(u64::from(number) * STABLE_BLOCK_BYTES as u64);
        let (true, Ok(at), Some(own)) = (block.is_written, usize::try_from(at), &mut block.bytes)
        else {
            return false;
        };
        let part = own.get_mut(at..).and_then(|own| own.get_mut(..bytes.len()));
        part.map(|part| part.copy_from_slice(bytes)).is_some()
    }

    /// Whether something was written.
    pub(crate) fn is_changed(&self) -> bool {
        self.has_grown || self.read < self.blocks.len()
    }

    /// Whether an end is made with what was written, though the memory has not grown.
    pub(crate) fn gains_end(&self) -> bool {
        self.lacks_end && !self.has_grown
    }

    /// Makes entries of some of what was written: of fewer, if the work without a price comes to `unpriced_max`,
    /// of which nothing else is told, as the slice ends behind each of these steps. Gives whether that was all.
    pub(crate) fn save_some(
        &mut self,
        state: &mut dyn GuestState,
        unpriced_max: u64,
    ) -> Result<bool, StateError> {
        if self.has_grown || self.lacks_end {
            (self.has_grown, self.lacks_end) = (false, false);
            if let Some(end) = self.end.take() {
                state.remove(Space::Stable, &end_key(end))?;
            }
            // At most 4 TiB have so many blocks.
            let last = (self.bytes / STABLE_BLOCK_BYTES as u64 - 1) as u32;
            state.set(Space::Stable, &end_key(last), &[])?;
        }
        let mut unpriced = 0_u64;
        for _ in 0..SAVE_STEP {
            let Some(block) = self.blocks.pop() else {
                return Ok(true);
            };
            if !block.is_written {
                continue;
            }
            let key = block.number.to_be_bytes();
            let bytes = block.bytes.as_deref().map_or(&[][..], trimmed);
            match bytes {
                [] if block.is_there => drop(state.remove(Space::Stable, &key)?),
                [] => {}
                bytes => state.set(Space::Stable, &key, bytes)?,
            }
            // Of the end as well.
            unpriced = unpriced.saturating_add(state.take_unseen());
            if unpriced >= unpriced_max {
                break;
            }
        }
        Ok(self.blocks.is_empty())
    }

    /// Where the block of this number is. Notes what it takes if the state is asked for it.
    fn come_to(
        &mut self,
        state: &mut dyn GuestState,
        number: u32,
        touched: &mut Touched,
    ) -> Result<usize, StateError> {
        if self.last.0 == number && self.last.1 != NOWHERE {
            return Ok(self.last.1);
        }
        if let Some(&place) = self.places.get(&number) {
            self.last = (number, place);
            return Ok(place);
        }
        if self.read >= READ_BLOCKS_MAX {
            self.forget_read();
        }
        let value = state.get(Space::Stable, &number.to_be_bytes())?;
        touched.looked_for += 1;
        touched.unpriced = touched.unpriced.saturating_add(state.take_unseen());
        let bytes = match &value {
            None => None,
            Some(value) => {
                let mut bytes = zeros();
                let own = bytes.get_mut(..value.len()).ok_or_else(malformed)?;
                own.copy_from_slice(value);
                Some(bytes)
            }
        };
        let place = self.blocks.len();
        self.blocks.push(Block {
            number,
            bytes,
            is_there: value.is_some(),
            is_written: false,
        });
        self.places.insert(number, place);
        self.read += 1;
        self.last = (number, place);
        Ok(place)
    }

    /// Keeps what was written alone.
    fn forget_read(&mut self) {
        self.blocks.retain(|block| block.is_written);
        let numbers = self.blocks.iter().map(|block| block.number);
        self.places = numbers.zip(0..).collect();
        self.read = 0;
        self.last = (0, NOWHERE);
    }
}

/// What lies in one block of so many bytes, which are there.
fn part_at(offset: u64, count: usize) -> Part {
    let at = (offset % STABLE_BLOCK_BYTES as u64) as usize;
    Part {
        // At most 4 TiB have so many blocks.
        number: (offset / STABLE_BLOCK_BYTES as u64) as u32,
        at,
        bytes: count.min(STABLE_BLOCK_BYTES - at),
    }
}

fn zeros() -> Box<[u8; STABLE_BLOCK_BYTES]> {
    Box::new([0; STABLE_BLOCK_BYTES])
}

/// Without the zeros at its end.
fn trimmed(bytes: &[u8; STABLE_BLOCK_BYTES]) -> &[u8] {
    let last = bytes.iter().rposition(|byte| *byte != 0);
    last.map_or(&[][..], |last| &bytes[..=last])
}

/// The key of the entry that says that the memory reaches to the end of a block.
fn end_key(number: u32) -> [u8; KEY_BYTES + 1] {
    let mut key = [0; KEY_BYTES + 1];
    key[..KEY_BYTES].copy_from_slice(&number.to_be_bytes());
    key
}

/// The block that a key is of, and whether it says that the memory reaches to its end.
fn split_key(key: &[u8]) -> Option<(u32, bool)> {
    let (number, rest) = key.split_first_chunk::<KEY_BYTES>()?;
    match rest {
        [] | [0] => Some((u32::from_be_bytes(*number), !rest.is_empty())),
        _ => None,
    }
}

/// Its record has a checksum and stands where such a one may stand, so we have written it.
fn malformed() -> StateError {
    StateError::new("a block of the stable memory is not as it was written")
}

#[cfg(test)]
mod tests {
    use super::*;

    type State = BTreeMap<Vec<u8>, Vec<u8>>;

    /// Numbers that look random and are the same each time.
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: u64) -> u64 {
            // Knuth's multiplier.
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (self.0 >> 33) % end
        }
    }

    /// What has room for no work without a price stops behind each block.
    const ROOMS: [u64; 2] = [0, u64::MAX];

    fn save(mut memory: StableMemory, state: &mut State, room: u64) {
        while !memory.save_some(state, room).unwrap() {}
    }

    fn read(
        memory: &mut StableMemory,
        state: &mut State,
        at: u64,
        count: usize,
        room: u64,
    ) -> (Vec<u8>, u64) {
        let (mut out, mut looked_for) = (Vec::new(), 0);
        while out.len() < count {
            let (at, left) = (at + out.len() as u64, count - out.len());
            let touched = memory.read(state, at, left, room, &mut out).unwrap();
            looked_for += touched.looked_for;
        }
        (out, looked_for)
    }

    /// Gives how many entries were looked for, and how many blocks were written first.
    fn write(
        memory: &mut StableMemory,
        state: &mut State,
        at: u64,
        bytes: &[u8],
        room: u64,
    ) -> (u64, u64) {
        let (mut done, mut counts) = (0, (0, 0));
        while done < bytes.len() {
            let touched = memory
                .write(state, at + done as u64, &bytes[done..], room)
                .unwrap();
            done += touched.bytes;
            counts.0 += touched.looked_for;
            counts.1 += touched.written;
        }
        counts
    }

    fn open(state: &mut State) -> Result<StableMemory, StateError> {
        match StableMemory::open(state, None, u64::MAX)? {
            Opening::Done(memory) => Ok(memory),
            Opening::GoesOn { before, .. } => panic!("it stopped at {before:?}"),
        }
    }

    fn read_all(state: &mut State) -> Vec<u8> {
        let mut memory = open(state).unwrap();
        let count = memory.bytes() as usize;
        read(&mut memory, state, 0, count, u64::MAX).0
    }

    /// Turns that read, write, erase and grow, of which some are dropped: a memory reads as an array does, within
    /// a turn and behind it, and what is all zero takes nothing.
    #[test]
    fn a_memory_is_an_array_of_bytes() {
        for seed in 1..20 {
            let (mut random, mut state) = (Random(seed), State::new());
            let mut model: Vec<u8> = Vec::new();
            for _ in 0..40 {
                let mut memory = open(&mut state).unwrap();
                let mut turn = model.clone();
                assert_eq!(memory.bytes(), turn.len() as u64);
                for _ in 0..random.below(12) {
                    if turn.is_empty() || random.below(20) == 0 {
                        let pages = random.below(3);
                        memory.grow(pages);
                        turn.resize(turn.len() + (pages * STABLE_PAGE_BYTES) as usize, 0);
                        continue;
                    }
                    let at = random.below(turn.len() as u64) as usize;
                    let longest = if random.below(4) == 0 { 70_000 } else { 3_000 };
                    let count = (random.below(longest) as usize).min(turn.len() - at);
                    let part = &mut turn[at..at + count];
                    let room = ROOMS[random.below(2) as usize];
                    if random.below(2) == 0 {
                        let (found, _) = read(&mut memory, &mut state, at as u64, count, room);
                        assert!(found == part, "seed {seed}: {count} bytes at {at}");
                    } else {
                        part.fill(random.below(3) as u8);
                        // As the host function does.
                        if !memory.write_again(at as u64, part) {
                            write(&mut memory, &mut state, at as u64, part, room);
                        }
                    }
                }
                if random.below(4) > 0 {
                    save(memory, &mut state, ROOMS[random.below(2) as usize]);
                    model = turn;
                }
            }
            assert!(read_all(&mut state) == model, "seed {seed}");
            let blocks = model.chunks(STABLE_BLOCK_BYTES);
            let full = blocks.filter(|block| block.iter().any(|byte| *byte != 0));
            let ends = usize::from(!model.is_empty());
            assert_eq!(state.len(), full.count() + ends, "seed {seed}");
        }
    }

    /// A block is looked for once, and counts as written once, until there are too many that were
    /// only read.
    #[test]
    fn a_turn_looks_for_a_block_once() {
        let mut state = State::from([(vec![0, 0, 0, 8], b"full".to_vec())]);
        let mut memory = open(&mut state).unwrap();
        memory.grow(100);
        let counts = [(1023, 1), (1023, 2), (0, 2048), (5, 1)]
            .map(|(at, bytes)| write(&mut memory, &mut state, at, &vec![7; bytes], u64::MAX));
        assert_eq!(counts, [(1, 1), (1, 1), (0, 0), (0, 0)]);
        // The last write was to the first block.
        for (at, count, is_there) in [(0, 1024, true), (1023, 1, true), (1023, 2, false)] {
            assert_eq!(memory.write_again(at, &vec![8; count]), is_there, "{at}");
        }
        for at in [1024, 2048, u64::MAX, u64::MAX - 1023] {
            assert!(!memory.write_again(at, &[8]), "{at}");
        }
        read(&mut memory, &mut state, 8192, 1, u64::MAX);
        assert!(!memory.write_again(8192, &[8]), "it was only read");
        let mut looked_for = |count| read(&mut memory, &mut state, 0, count, u64::MAX).1;
        assert_eq!((looked_for(4096), looked_for(4096)), (2, 0));
        // One more than stay, beside the two that were written.
        let blocks = READ_BLOCKS_MAX + 3;
        let expected = blocks as u64 - 5;
        assert_eq!(looked_for(blocks * STABLE_BLOCK_BYTES), expected);
        assert_eq!(looked_for(4096), 2, "those that were written have stayed");
        save(memory, &mut state, u64::MAX);
        assert_eq!(state.len(), 4);
    }

    /// Whatever another node has written, within what a delta may hold.
    #[test]
    fn a_memory_reaches_as_far_as_its_greatest_key_says() {
        for (keys, pages) in [
            (vec![vec![0, 0, 0, 0]], 1),
            (vec![vec![0, 0, 0, 63, 0]], 1),
            (vec![vec![0, 0, 0, 63, 0], vec![0, 0, 0, 64]], 2),
            (vec![vec![0, 0, 2, 0, 0], vec![0, 0, 1, 9, 0]], 9),
            (vec![vec![255; 4]], 1 << 26),
        ] {
            let entries = keys.into_iter().map(|key| (key, Vec::new()));
            let mut state: State = entries.collect();
            let mut memory = open(&mut state).unwrap();
            assert_eq!(memory.bytes(), pages * STABLE_PAGE_BYTES);
            let last = memory.bytes() - 1;
            assert!(memory.has(last, 1) && !memory.has(last, 2) && !memory.has(last, u64::MAX));
            // Also if what said so is made zero, and goes.
            for byte in [b"x", b"\0"] {
                write(&mut memory, &mut state, last, byte, u64::MAX);
                save(memory, &mut state, u64::MAX);
                memory = open(&mut state).unwrap();
                assert_eq!(memory.bytes(), pages * STABLE_PAGE_BYTES);
            }
        }
        for key in [&b"abc"[..], b"abcd\x01", b"abcdef"] {
            let mut state = State::from([(key.to_vec(), Vec::new())]);
            assert!(open(&mut state).is_err());
        }
        let long = vec![1; STABLE_BLOCK_BYTES + 1];
        let mut state = State::from([(vec![0; 4], long)]);
        let mut memory = open(&mut state).unwrap();
        let read = memory.read(&mut state, 0, 1, u64::MAX, &mut Vec::new());
        read.unwrap_err();
    }
}
