//! What the operator decides: one validated [`Config`], made once at start
//! from defaults, a file, the environment and flags, each stronger than the
//! one before. Every field is declared in `schema.rs`; nothing else reads the
//! environment.
//!
//! Start reading at `schema.rs` (what can be set), then `layers.rs` (how).

mod error;
mod layers;
mod reference;
mod schema;
mod value;

pub use error::ConfigError;
pub use layers::{Effective, Layers, Origin};
pub use reference::reference;
pub(crate) use schema::path_of;
pub use schema::{Collector, Config, Http, Log, Metrics, Process, Shards, Storage};
pub use value::{Bytes, Field, LogFormat, LogLevel, Setting};
