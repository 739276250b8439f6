//! Write a Corelet application in Rust.
//!
//! An application is a plain struct whose fields are collections, and an impl
//! block whose methods are marked as queries or updates:
//!
//! ```
//! use corelet_sdk::prelude::*;
//!
//! #[corelet::application]
//! pub struct Greeter {
//!     greetings: Map<String, String>,
//! }
//!
//! #[corelet::methods]
//! impl Greeter {
//!     /// Remembers how `name` wants to be greeted.
//!     #[update]
//!     pub fn learn(&mut self, name: String, greeting: String) {
//!         self.greetings.set(&name, &greeting);
//!     }
//!
//!     /// Greets `name`.
//!     #[query]
//!     pub fn greet(&self, name: &str) -> Option<String> {
//!         self.greetings.get(name)
//!     }
//! }
//!
//! # fn main() {
//! let mut context = corelet_sdk::testing::Context::<Greeter>::new();
//! context.update("learn", json!({ "name": "Ada", "greeting": "Good day" })).unwrap();
//! assert_eq!(context.query("greet", json!({ "name": "Ada" })).unwrap(), "Good day");
//! # }
//! ```
//!
//! The struct holds no data: it is a set of doors to the context's durable
//! state, opened anew for each call, and nothing is kept in memory between
//! calls. A method returns a value, or a `Result` whose error drops everything
//! that the call has done.
//!
//! Contents: [`collections`] is the state, [`key`] how keys are ordered,
//! [`stable`] the bytes beside it, [`blobs`] the large contents to which it refers, [`timers`] what
//! is to be called later, [`calls`] what it asks other contexts and sends them,
//! [`context`] what a call knows about itself, [`events`] and [`log`] what it
//! tells the world, and what it is told of others' events, [`testing`] how to run an application without a server.
//! The attributes live in `corelet-sdk-macros`; `host` is the one module that
//! knows whether a real server or the in-memory one answers.

#[cfg(target_arch = "wasm32")]
mod allocator;
pub mod application;
mod arguments;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod bindings;
pub mod blobs;
pub mod calls;
pub mod collections;
pub mod context;
mod context_id;
mod error;
pub mod events;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod guest;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod handler_bindings;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod hook_bindings;
mod host;
pub mod key;
pub mod log;
#[cfg(not(target_arch = "wasm32"))]
mod memory_blobs;
#[cfg(not(target_arch = "wasm32"))]
mod memory_calls;
#[cfg(not(target_arch = "wasm32"))]
mod memory_host;
#[cfg(not(target_arch = "wasm32"))]
mod memory_limits;
#[cfg(not(target_arch = "wasm32"))]
mod memory_running;
#[cfg(not(target_arch = "wasm32"))]
mod memory_sequences;
#[cfg(not(target_arch = "wasm32"))]
mod memory_stable;
#[cfg(not(target_arch = "wasm32"))]
mod memory_subscriptions;
#[cfg(not(target_arch = "wasm32"))]
mod memory_timers;
#[doc(hidden)]
pub mod private;
mod returned;
pub mod stable;
mod stable_blocks;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod timers;
mod value;

pub use corelet_sdk_macros::{application, methods};
pub use error::Error;

/// Everything that an application usually needs.
pub mod prelude {
    pub use crate::calls::{self, ContextId, Outcome, QueryError, SendError};
    pub use crate::collections::{
        Counter, List, Map, Owned, Page, Private, Register, Set, Text, WriteOnce,
    };
    pub use crate::error::Error;
    pub use crate::events::{Heard, SubscribeError};
    pub use crate::{blobs, context, debug, error, events, info, stable, timers, warn};
    pub use serde::{Deserialize, Serialize};
    pub use serde_json::json;

    /// The attributes of an application.
    pub mod corelet {
        pub use corelet_sdk_macros::{application, methods};
    }
}
