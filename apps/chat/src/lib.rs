//! A room where messages are appended and read page by page.
//!
//! ```sh
//! corelet app install target/apps/chat.wasm
//! corelet context create chat --name lobby
//! corelet call lobby append '{"message":"hello"}'
//! corelet call lobby page '{"limit":20}'
//! ```
//!
//! A message's id is its time, a sequence within that time, and a random tail,
//! so that ids are in order on one node and two nodes that append at the same
//! moment do not write under the same key. As text it is 40 hex digits whose
//! order is the order of the messages. Appending reads one entry, however long
//! the room's history is.
//!
//! A message can be passed on from room to room, each of which appends it in the name of the one
//! before it:
//!
//! ```sh
//! corelet call lobby relay '{"message":"hello","rooms":["<the id of another room>"]}'
//! ```
//!
//! And a room can follow another one, on whatever core that lives: what is said there is appended here
//! exactly once.
//!
//! ```sh
//! corelet call lobby follow '{"room":"<the id of another room>","from_the_beginning":true}'
//! corelet context subscriptions lobby
//! corelet call lobby unfollow '{"room":"<the id of another room>"}'
//! ```

mod message;

use corelet_sdk::prelude::*;
pub use message::{Message, MessageId};

/// A room where messages are appended.
#[corelet::application(name = "chat")]
pub struct Chat {
    messages: Map<MessageId, Message>,
}

/// The most bytes of one message.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// What is appended in the name of another room is said with a caller that begins so.
const ROOM: &str = "corelet:context/";

/// How many messages a page has if the caller does not say.
const PAGE_MESSAGES: u32 = 50;

/// Why a message was not appended.
#[derive(Debug, Serialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Refused {
    /// There is nothing in it.
    Empty,
    /// It is too long.
    TooLong {
        /// How many bytes it has.
        bytes: usize,
        /// How many it may have.
        bytes_max: usize,
    },
}

/// Why a message was not passed on.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum NotRelayed {
    /// It was not appended here.
    Refused(Refused),
    /// It cannot be sent.
    NotSent(Error),
}

impl From<Refused> for NotRelayed {
    fn from(refused: Refused) -> NotRelayed {
        NotRelayed::Refused(refused)
    }
}

impl From<SendError> for NotRelayed {
    fn from(error: SendError) -> NotRelayed {
        NotRelayed::NotSent(error.into())
    }
}

/// What the event `appended` tells.
#[derive(Serialize)]
struct Appended<'a> {
    id: MessageId,
    #[serde(flatten)]
    message: &'a Message,
}

#[corelet::methods]
impl Chat {
    /// Appends `message` in the caller's name and returns its id.
    #[update]
    pub fn append(&mut self, message: String) -> Result<MessageId, Refused> {
        if message.is_empty() {
            return Err(Refused::Empty);
        }
        if message.len() > MESSAGE_BYTES_MAX {
            return Err(Refused::TooLong {
                bytes: message.len(),
                bytes_max: MESSAGE_BYTES_MAX,
            });
        }
        let last = self.messages.last();
        let id = MessageId::behind(last.map(|(id, _)| id), context::now(), context::random());
        let message = Message {
            author: context::caller(),
            text: message,
        };
        self.messages.set(&id, &message);
        let message = &message;
        events::emit("appended", &Appended { id, message });
        Ok(id)
    }

    /// Appends `message` in the caller's name, and has the first of the `rooms` do so in the name of
    /// this one, and so on.
    #[update]
    pub fn relay(
        &mut self,
        message: String,
        rooms: Vec<ContextId>,
    ) -> Result<MessageId, NotRelayed> {
        let id = self.append(message.clone())?;
        if let [next, rest @ ..] = &rooms[..] {
            calls::send(next, "relay", &json!({ "message": message, "rooms": rest }))?;
        }
        Ok(id)
    }

    /// Appends what is appended to another room, in the name of that: what is said there from now on, or
    /// all that is known of it.
    #[update]
    pub fn follow(
        &mut self,
        room: ContextId,
        from_the_beginning: Option<bool>,
    ) -> Result<(), Error> {
        let wanted = events::Wanted {
            kind: Some("appended"),
            after: from_the_beginning.unwrap_or_default().then_some(0),
        };
        Ok(events::subscribe_to(&room, "said_elsewhere", wanted)?)
    }

    /// Follows another room no longer; tells whether it did.
    #[update]
    pub fn unfollow(&mut self, room: ContextId) -> bool {
        events::unsubscribe(&room, "said_elsewhere")
    }

    /// The rooms that this one follows.
    #[query]
    pub fn followed(&self) -> Vec<ContextId> {
        let all = events::subscribed().into_iter();
        all.map(|subscription| subscription.context).collect()
    }

    /// Appends what was said in a room that this one follows: the server calls it.
    #[handler]
    pub fn said_elsewhere(&mut self, heard: Heard<Message>) -> Result<(), Refused> {
        let room = heard.context;
        if let Some(gap) = heard.gap {
            warn!("events {} to {} of {room} are missing", gap.from, gap.to);
        }
        for event in heard.events {
            // What came from another room is not passed on, or rooms that follow each other would
            // go on without end.
            if !event.payload.author.starts_with(ROOM) {
                self.append(event.payload.text)?;
            }
        }
        if heard.ended {
            events::emit("closed", &json!({ "room": room }));
        }
        Ok(())
    }

    /// Up to `limit` messages (50 if not said, at most 999), oldest first,
    /// behind the message `after` if one is given.
    #[query]
    pub fn page(&self, after: Option<MessageId>, limit: Option<u32>) -> Page<MessageId, Message> {
        self.messages
            .page(after.as_ref(), limit.unwrap_or(PAGE_MESSAGES))
    }

    /// The last `limit` messages (50 if not said, at most 999), newest first,
    /// before the message `before` if one is given.
    #[query]
    pub fn latest(
        &self,
        before: Option<MessageId>,
        limit: Option<u32>,
    ) -> Page<MessageId, Message> {
        let limit = limit.unwrap_or(PAGE_MESSAGES);
        match before {
            Some(before) => self.messages.range(..before).reversed().page(limit),
            None => self.messages.iter().reversed().page(limit),
        }
    }
}
