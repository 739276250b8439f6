//! Documents that many write, with comments: texts and lists.
//!
//! ```sh
//! corelet app install target/apps/docs.wasm
//! corelet context create docs --name team
//! corelet call team write '{"title":"plan","at":0,"what":"We meet at noon."}'
//! corelet call team comment '{"title":"plan","at":11,"count":4,"remark":"or at one?"}'
//! corelet call team read '{"title":"plan"}'
//! ```
//!
//! A comment can have blobs with it, by the ids that `corelet blob put` gives:
//! `"attachments":["9mX…"]`.
//!
//! Places count Unicode scalar values. A comment quotes what it is about, so it can be
//! understood when the text has moved on; what it shows is attached to it. Who wrote how much of a document is
//! counted, wherever it was written.

use corelet_sdk::prelude::*;

/// Documents by title.
#[corelet::application(name = "docs")]
pub struct Docs {
    texts: Map<String, Text>,
    comments: Map<String, List<Comment>>,
    /// By title, then by who: scalar values that they have written.
    written: Map<String, Map<String, Counter>>,
    /// By blob: the ids of the comments that it goes with. A count would not do: when it is cleared at 0,
    /// a comment that another node makes meanwhile is not counted any more. The number is always
    /// 0: behind it an id is a beginning, and what begins so is removed around what a lying node
    /// has written once there, which would stop the removal of one element.
    goes_with: Map<String, Set<(String, u8)>>,
}

/// What somebody says about a part of a document.
#[derive(Debug, Serialize, Deserialize)]
pub struct Comment {
    who: String,
    /// What was there when it was said.
    quote: String,
    remark: String,
    /// What it is called among those that a blob goes with; only if one goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// Blobs that go with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<String>,
}

/// A document as it stands.
#[derive(Debug, Serialize)]
pub struct Document {
    text: String,
    comments: Vec<Comment>,
    /// Who has written it, and how much.
    writers: Vec<(String, i64)>,
}

/// The most of a document that one call reads, in scalar values: an answer has its
/// limit.
const READ_MAX: u64 = 100_000;

/// The most comments that one call reads.
const COMMENTS_MAX: u64 = 1000;

/// The most blobs that go with one comment.
const ATTACHMENTS_MAX: usize = 10;

/// Characters of a comment's id, and the most of a blob's.
const ID_CHARS: usize = 32;
const BLOB_ID_CHARS_MAX: usize = 64;

/// An id that no other comment has.
fn new_id() -> String {
    format!("{:0ID_CHARS$x}", u128::from_be_bytes(context::random()))
}

impl Docs {
    /// Detaches the blobs of a comment that is gone, if no other has them. Of two nodes that let
    /// go of the last two comments at the same time neither does: then a blob stays attached
    /// until another comment with it has come and gone. And what one node adds to a document while
    /// another discards it may be gone with its comments, and stay attached all the same.
    ///
    /// A comment may be another node's lie: it must not keep the document from being discarded.
    fn let_go(&mut self, comment: &Comment) {
        for blob in comment.attachments.iter().take(ATTACHMENTS_MAX) {
            if blob.len() > BLOB_ID_CHARS_MAX {
                continue;
            }
            let mut comments = self.goes_with.entry_mut(blob);
            if let Some(id) = &comment.id
                && id.len() == ID_CHARS
            {
                comments.remove_under(&(id.as_str(),), 1);
            }
            // What is not attached is not detached: each time would be a write.
            if comments.is_empty() && blobs::size(blob).is_some() {
                blobs::detach(blob);
            }
        }
    }
}

#[corelet::methods]
impl Docs {
    /// Writes into a document, which the first call begins; returns its length.
    #[update]
    pub fn write(&mut self, title: &str, at: u64, what: &str) -> Result<u64, Error> {
        let mut text = self.texts.entry_mut(title);
        text.try_insert(at, what)?;
        let mut written = self.written.entry_mut(title);
        let count = what.chars().count() as i64;
        written.entry_mut(&context::caller()).add(count);
        Ok(text.len())
    }

    /// Writes to the end of a document; returns its length.
    #[update]
    pub fn append(&mut self, title: &str, what: &str) -> Result<u64, Error> {
        let end = self.texts.entry(title).len();
        self.write(title, end, what)
    }

    /// Takes a part of a document away; returns its length.
    #[update]
    pub fn erase(&mut self, title: &str, at: u64, count: u64) -> Result<u64, Error> {
        let mut text = self.texts.entry_mut(title);
        text.try_remove_range(at, count)?;
        Ok(text.len())
    }

    /// Replaces a part of a document, or nothing of it; returns its length.
    #[update]
    pub fn replace(&mut self, title: &str, at: u64, count: u64, with: &str) -> Result<u64, Error> {
        self.erase(title, at, count)?;
        self.write(title, at, with)
    }

    /// Says something about a part of a document, with blobs if there are any; returns how many comments it has.
    #[update]
    pub fn comment(
        &mut self,
        title: &str,
        at: u64,
        count: u64,
        remark: String,
        attachments: Option<Vec<String>>,
    ) -> Result<u64, Error> {
        let text = self.texts.entry(title);
        let end = at.saturating_add(count);
        if end > text.len() {
            return Err(Error::new("out_of_range", "there is no such part"));
        }
        let quote = text.range(at..end);
        let attachments = attachments.unwrap_or_default();
        if attachments.len() > ATTACHMENTS_MAX {
            let message = format!("a comment has at most {ATTACHMENTS_MAX} attachments");
            return Err(Error::new("too_many", message));
        }
        let mut id = None;
        for blob in &attachments {
            blobs::attach(blob)?;
            let id = id.get_or_insert_with(new_id);
            let mut comments = self.goes_with.entry_mut(blob);
            comments.insert(&(id.as_str(), 0_u8));
        }
        let mut comments = self.comments.entry_mut(title);
        comments.push(&Comment {
            who: context::caller(),
            quote,
            remark,
            id,
            attachments,
        });
        Ok(comments.len())
    }

    /// Takes a comment away, by its place among those that are read; only who made it may.
    #[update]
    pub fn resolve(&mut self, title: &str, place: u64) -> Result<(), Error> {
        let mut comments = self.comments.entry_mut(title);
        let mut all = comments.iter();
        let found = usize::try_from(place).ok().and_then(|place| all.nth(place));
        let (comment, place) = found
            .zip(all.place())
            .ok_or_else(|| Error::new("no_comment", "there is no such comment"))?;
        if comment.who != context::caller() {
            return Err(Error::new("not_yours", "it is another's comment"));
        }
        comments.remove(place);
        self.let_go(&comment);
        Ok(())
    }

    /// Takes a document away, with its comments.
    #[update]
    pub fn discard(&mut self, title: &str) -> bool {
        let comments: Vec<Comment> = self.comments.entry(title).iter().collect();
        comments.iter().for_each(|comment| self.let_go(comment));
        self.comments.entry_mut(title).clear();
        self.written.entry_mut(title).clear();
        self.texts.entry_mut(title).clear()
    }

    /// A document, or the beginning of a long one.
    #[query]
    pub fn read(&self, title: &str) -> Document {
        let written = self.written.entry(title);
        let writer = |who: String| {
            let count = written.entry(&who).get();
            (who, count)
        };
        Document {
            text: self.texts.entry(title).range(..READ_MAX),
            comments: self.comments(title, 0, COMMENTS_MAX),
            writers: written.keys().map(writer).collect(),
        }
    }

    /// The comments from a place on, as many as were asked for or as one call reads. What another
    /// node has put among them and is none has no place.
    #[query]
    pub fn comments(&self, title: &str, from: u64, count: u64) -> Vec<Comment> {
        let Ok(from) = usize::try_from(from) else {
            return Vec::new();
        };
        let all = self.comments.entry(title).iter().skip(from);
        all.take(count.min(COMMENTS_MAX) as usize).collect()
    }

    /// A part of a document, as far as it goes.
    #[query]
    pub fn part(&self, title: &str, at: u64, count: u64) -> String {
        let end = at.saturating_add(count.min(READ_MAX));
        self.texts.entry(title).range(at..end)
    }

    /// How long a document is.
    #[query]
    pub fn length(&self, title: &str) -> u64 {
        self.texts.entry(title).len()
    }

    /// All titles.
    #[query]
    pub fn titles(&self) -> Vec<String> {
        self.texts.keys().collect()
    }
}
