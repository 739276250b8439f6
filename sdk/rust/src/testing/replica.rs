//! The door through which `corelet-testkit` makes contexts the replicas of one: what a call has done
//! goes out, and what it has become together with others' writes comes in. Not for people, and free
//! to change.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::Value;

use super::{Context, Event, Failed, parsed};
use crate::application::Application;
use crate::memory_host::{Call, Stored};

pub use crate::memory_host::{Deed, Elements, Kind, Space, Write};

/// Makes durable what calls do.
pub trait Keeper {
    /// What a call has done, in order, with the events that it has emitted, at the time `now` in
    /// nanoseconds since 1970. Gives what there is from now on, if that may be something else than
    /// what the call has seen. An error is why all of it is refused.
    fn keep(
        &mut self,
        deeds: Vec<Deed>,
        events: &[(String, Vec<u8>)],
        now: u64,
    ) -> Result<Option<Image>, String>;
}

/// An entry, as it is read.
#[derive(Debug, Clone)]
pub struct Found {
    /// In which space.
    pub space: Space,
    /// Under which key.
    pub key: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// As the application reads it; empty if it is a list or text.
    pub value: Vec<u8>,
    /// What a list or text holds.
    pub elements: Option<Elements>,
}

/// All that a node has of a context and others may have as well, and its private entries.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// All entries.
    pub entries: Vec<Found>,
    /// The blobs that are attached, and their sizes.
    pub attached: BTreeMap<String, u64>,
    /// How often the state has changed.
    pub version: u64,
    /// Events that others have emitted and that are new here.
    pub events: Vec<(String, Vec<u8>)>,
    /// The time up to which others have written, in nanoseconds since 1970.
    pub seen_until: u64,
}

#[doc(hidden)]
impl<A: Application> Context<A> {
    /// One that writes under the public key `author` to `keeper`, and has nothing yet.
    pub fn kept(author: [u8; 32], seed: u64, keeper: Rc<RefCell<dyn Keeper>>) -> Self {
        Context {
            author,
            seed,
            keeper: Some(keeper),
            ..Context::empty()
        }
    }

    /// Runs `#[init]`.
    pub fn begin(&mut self, args: &Value) -> Result<(), Failed> {
        self.init(args)
    }

    /// Whether it still writes to its keeper: one that was upgraded does not.
    pub fn is_kept(&self) -> bool {
        self.keeper.is_some()
    }

    /// What its clock says, in nanoseconds since 1970.
    pub fn clock(&self) -> u64 {
        self.now
    }

    /// What it has is this from now on.
    pub fn load(&mut self, image: Image) {
        let entries = image.entries.into_iter().map(|found| {
            let stored = Stored {
                kind: found.kind,
                value: found.value,
                elements: found.elements,
                // That is known again when it is loaded anew.
                beyond: None,
            };
            (found.space, found.key, stored)
        });
        self.state.load(entries);
        self.state.attached = image.attached;
        // The ledger counts what is in it, and not what is on its node alone.
        self.state_version = image.version.max(self.state_version + 1);
        self.seen_until = image.seen_until;
        let events = image.events.into_iter();
        self.events.extend(events.map(|(kind, payload)| Event {
            kind,
            payload: parsed(&payload),
        }));
    }

    /// Hands what a call has done to the keeper, if there is one.
    pub(super) fn keep(&mut self, call: &mut Call) -> Result<Option<Image>, Failed> {
        let (Some(keeper), Some(deeds)) = (&self.keeper, call.deeds.take()) else {
            return Ok(None);
        };
        if call.stable_before.is_something() {
            let why = "the stable memory of a replica cannot be written in a test";
            return Err(Failed::Misused(why.to_owned()));
        }
        if deeds.is_empty() && call.events.is_empty() {
            return Ok(None);
        }
        let kept = keeper.borrow_mut().keep(deeds, &call.events, self.now);
        kept.map_err(Failed::Misused)
    }
}
