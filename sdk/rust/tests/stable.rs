//! The stable memory, on the host in memory.

use std::io::{Read, Seek, SeekFrom, Write};

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

    /// A text of so many bytes.
    #[query]
    pub fn get(&self, at: u64, count: usize) -> String {
        let mut bytes = vec![0; count];
        stable::read(at, &mut bytes);
        String::from_utf8(bytes).unwrap()
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

#[test]
fn what_was_written_is_read_and_what_failed_leaves_nothing() {
    let mut bytes = Context::<Bytes>::new();
    let put = |at: u64, text: &str| json!({ "at": at, "text": text });
    let get = |at: u64, count: usize| json!({ "at": at, "count": count });
    assert_eq!(bytes.update("put", put(65_534, "hello")).unwrap(), 2);
    assert_eq!(bytes.query("get", get(65_534, 5)).unwrap(), "hello");
    let before = bytes.stable().to_vec();
    let failed = bytes.update("put", put(200_000, "no")).unwrap_err();
    assert_eq!(failed.code(), Some("no"));
    assert_eq!(bytes.stable(), before);
    assert_eq!(bytes.query("rest", json!({ "back": 7 })).unwrap(), 7);
    let beyond = bytes.query("get", get(131_070, 3)).unwrap_err();
    assert!(
        matches!(&beyond, Failed::Misused(message) if message.contains("beyond its end")),
        "{beyond}"
    );
    let wrote = bytes.query("grow_in_a_query", json!({})).unwrap_err();
    assert_eq!(wrote, Failed::WroteInQuery);
}
