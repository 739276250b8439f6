//! What an application has attached, on the host in memory.

use corelet_sdk::prelude::*;
use corelet_sdk::testing::{Context, Failed};

/// Pictures with their titles.
#[corelet::application]
pub struct Album {
    titles: Map<String, String>,
}

#[corelet::methods]
impl Album {
    /// Puts a picture into the album.
    #[update]
    pub fn put(&mut self, blob: String, title: String) -> Result<u64, Error> {
        let size = blobs::attach(&blob)?;
        if title.is_empty() {
            return Err(Error::new("nameless", "a picture has a title"));
        }
        self.titles.set(&blob, &title);
        Ok(size)
    }

    /// Takes it out.
    #[update]
    pub fn take(&mut self, blob: String) -> bool {
        self.titles.remove(&blob);
        blobs::detach(&blob)
    }

    /// All pictures.
    #[query]
    pub fn all(&self) -> Vec<(String, u64)> {
        blobs::attached()
            .map(|attachment| (attachment.blob, attachment.size))
            .collect()
    }

    /// How large one is.
    #[query]
    pub fn size(&self, blob: &str) -> Option<u64> {
        blobs::size(blob)
    }

    /// What no query may do.
    #[query]
    pub fn attach_in_a_query(&self, blob: &str) -> Result<u64, Error> {
        blobs::attach(blob)
    }
}

#[test]
fn what_is_attached_stays_until_it_is_detached() {
    let mut album = Context::<Album>::new();
    let put = |blob: &str, title: &str| json!({ "blob": blob, "title": title });
    let unknown = album.update("put", put("a", "A")).unwrap_err();
    assert_eq!(unknown.code(), Some("unknown_blob"));
    for number in 0..600_u64 {
        album.add_blob(&format!("{number:03}"), number);
    }
    for number in 0..600_u64 {
        let blob = format!("{number:03}");
        assert_eq!(album.update("put", put(&blob, "one")).unwrap(), number);
    }
    album.update("put", put("007", "again")).unwrap();
    let all = album.query("all", json!({})).unwrap();
    let expected: Vec<_> = (0..600_u64)
        .map(|n| json!([format!("{n:03}"), n]))
        .collect();
    assert_eq!(all, json!(expected));
    assert_eq!(
        album.update("take", json!({ "blob": "007" })).unwrap(),
        true
    );
    assert_eq!(
        album.update("take", json!({ "blob": "007" })).unwrap(),
        false
    );
    assert_eq!(
        album.query("size", json!({ "blob": "007" })).unwrap(),
        json!(null)
    );
    assert_eq!(album.query("size", json!({ "blob": "008" })).unwrap(), 8);
    assert_eq!(album.attached().len(), 599);
}

#[test]
fn a_call_that_fails_attaches_nothing_and_a_query_must_not() {
    let mut album = Context::<Album>::new();
    album.add_blob("a", 1);
    let nameless = json!({ "blob": "a", "title": "" });
    assert!(album.update("put", nameless).is_err());
    assert_eq!(album.attached().len(), 0);
    let stopped = album.query("attach_in_a_query", json!({ "blob": "a" }));
    assert!(matches!(stopped, Err(Failed::WroteInQuery)), "{stopped:?}");
}
