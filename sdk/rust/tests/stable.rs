//! The stable memory, on the host in memory.

use std::cell::RefCell;
use std::io::{Read, Seek, SeekFrom, Write};
use std::rc::Rc;

use corelet_sdk::prelude::*;
use corelet_sdk::testing::{Context, Failed};

/// Bytes.
#[corelet::application]
pub struct Bytes {}

#[corelet::methods]
impl Bytes {
    /// Writes a text, if it is not empty.
    #[update]
    pub fn put(&mut self, at: u64, text: &str) -> Result<u64, Error> {
        let mut cursor = stable::Cursor::new(at);
        cursor.write_all(text.as_bytes()).unwrap();
        match text {
            "" => Err(Error::new("empty", "there is nothing to write")),
            "no" => Err(Error::new("no", "this is not written")),
            _ => Ok(stable::size()),
        }
    }

    /// Writes a text where there has to be room for it.
    #[update]
    pub fn overwrite(&mut self, at: u64, text: &str) {
        stable::write(at, text.as_bytes());
    }

    /// A text of so many bytes.
    #[query]
    pub fn get(&self, at: u64, count: usize) -> String {
        let mut bytes = vec![0; count];
        stable::read(at, &mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    /// Reads and writes here and there, and compares each read with what a copy of all says.
    #[update]
    pub fn mix(&mut self, seed: u64) -> u64 {
        let mut random = Random(seed);
        stable::grow(random.below(3) / 2 + u64::from(stable::size() == 0));
        let mut model = vec![0; (stable::size() * stable::PAGE_BYTES) as usize];
        // More than is kept, so it comes from the host.
        stable::read(0, &mut model);
        let mut reads = 0;
        for step in 0..200 {
            // Most are close together, so that blocks are met again.
            let near = [3_000, 40_000, model.len() as u64][random.below(3) as usize];
            let at = random.below(near) as usize;
            let count = [1, 7, 1024, 1025, 30_000][random.below(5) as usize];
            let count = count.min(model.len() - at);
            if random.below(3) == 0 {
                let bytes = vec![random.below(256) as u8; count];
                stable::write(at as u64, &bytes);
                model[at..at + count].copy_from_slice(&bytes);
            } else {
                let mut bytes = vec![0; count];
                stable::read(at as u64, &mut bytes);
                assert!(bytes == model[at..at + count], "step {step} of {seed}");
                reads += 1;
            }
        }
        reads
    }

    /// The first byte, what another context has there, and the first byte again.
    #[query]
    pub fn first_bytes(&self, other: ContextId) -> (u8, u8, u8) {
        let first = || {
            let mut byte = [0];
            stable::read(0, &mut byte);
            byte[0]
        };
        let get = json!({ "at": 0, "count": 1 });
        let before = first();
        let text: String = calls::query(&other, "get", &get).unwrap();
        (before, text.as_bytes()[0], first())
    }

    /// What no query may do.
    #[query]
    pub fn grow_in_a_query(&self) -> u64 {
        stable::grow(1)
    }

    /// The length of what is behind the last so many bytes' first, as a file is read.
    #[query]
    pub fn rest(&self, back: i64) -> usize {
        let mut cursor = stable::Cursor::default();
        cursor.seek(SeekFrom::End(-back)).unwrap();
        let mut bytes = Vec::new();
        cursor.read_to_end(&mut bytes).unwrap()
    }
}

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

/// Whatever was kept of what a call has read, by calls of two contexts in turn.
#[test]
fn what_is_kept_of_a_call_is_what_the_memory_has() {
    let mut two = [Context::<Bytes>::new(), Context::<Bytes>::new()];
    for seed in 0..100 {
        for bytes in &mut two {
            let reads = bytes.update("mix", json!({ "seed": seed })).unwrap();
            assert!(reads.as_u64().unwrap() > 50);
        }
        // So that they are not alike.
        two[0]
            .update("mix", json!({ "seed": 1000 + seed }))
            .unwrap();
    }
    assert!(two[0].stable() != two[1].stable());
}

#[test]
fn what_is_kept_is_not_what_another_context_has() {
    let [mut one, mut other] = [Context::<Bytes>::new(), Context::<Bytes>::new()];
    one.update("put", json!({ "at": 0, "text": "1" })).unwrap();
    other
        .update("put", json!({ "at": 0, "text": "2" }))
        .unwrap();
    let other = Rc::new(RefCell::new(other));
    one.set_others(move |_, method, args| Ok(other.borrow_mut().query(method, args).unwrap()));
    let id = ContextId::from_bytes([2; 32]);
    let found = one.query("first_bytes", json!({ "other": id })).unwrap();
    assert_eq!(found, json!([b'1', b'2', b'1']));
}

#[test]
fn what_was_written_is_read_and_what_failed_leaves_nothing() {
    let mut bytes = Context::<Bytes>::new();
    let put = |at: u64, text: &str| json!({ "at": at, "text": text });
    let get = |at: u64, count: usize| json!({ "at": at, "count": count });
    assert_eq!(bytes.update("put", put(65_534, "hello")).unwrap(), 2);
    assert_eq!(bytes.query("get", get(65_534, 5)).unwrap(), "hello");
    let before = bytes.stable();
    let failed = bytes.update("put", put(200_000, "no")).unwrap_err();
    assert_eq!(failed.code(), Some("no"));
    assert_eq!(bytes.stable(), before);
    assert_eq!(bytes.query("rest", json!({ "back": 7 })).unwrap(), 7);
    // Behind the end a file has nothing, and that is no mistake.
    assert_eq!(bytes.query("rest", json!({ "back": -7 })).unwrap(), 0);
    assert_eq!(bytes.query("get", get(131_072, 0)).unwrap(), "");
    bytes.update("overwrite", put(131_072, "")).unwrap();
    let wrote = bytes.query("grow_in_a_query", json!({})).unwrap_err();
    assert_eq!(wrote, Failed::WroteInQuery);
}

/// Whatever is kept, and in whatever parts it is asked for: it is told what the call wanted.
#[test]
fn what_goes_beyond_the_end_is_told_as_it_was_asked_for() {
    let mut bytes = Context::<Bytes>::new();
    let put = |at: u64, text: &str| json!({ "at": at, "text": text });
    bytes.update("put", put(131_071, "x")).unwrap();
    for (at, count) in [
        (131_070, 3),
        (131_072, 1),
        (131_073, 0),
        (131_000, 1024),
        (200_000, 2_000),
        (u64::MAX, 0),
        (u64::MAX, 1),
    ] {
        let text = "x".repeat(count);
        for (how, stopped) in [
            (
                "read",
                bytes.query("get", json!({ "at": at, "count": count })),
            ),
            ("written", bytes.update("overwrite", put(at, &text))),
        ] {
            let expected = format!(
                "the stable memory was {how} beyond its end: {count} bytes from {at} on, of \
                 131072 in all"
            );
            assert_eq!(stopped.unwrap_err(), Failed::Misused(expected));
        }
    }
}
