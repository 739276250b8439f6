//! What the macros make of an application: the traits through which `guest.rs`
//! and `testing.rs` run it. Nobody implements them by hand.

use crate::returned::Reply;

/// The struct's side, made by `#[corelet::application]`.
pub trait State: Sized {
    /// The application's name.
    const NAME: &'static str;
    /// The application's version.
    const VERSION: &'static str;
    /// The number of the form in which the application keeps its state.
    const SCHEMA_VERSION: u64 = 0;

    /// The struct with each collection at its place. Reads nothing.
    fn open() -> Self;
}

/// The impl block's side, made by `#[corelet::methods]`.
pub trait Application: State {
    /// What the application is, for people and tools.
    const DESCRIPTION: Description;

    /// Runs `#[init]`; the error is JSON.
    fn init(args: &[u8]) -> Result<(), Vec<u8>>;

    /// Runs a method; answer and error are JSON.
    fn call(method: &str, args: &[u8]) -> Reply;

    /// Whether there is `#[migrate]`.
    const MIGRATES: bool = false;

    /// Runs `#[migrate]`; the error is JSON.
    fn migrate(from: u64) -> Result<(), Vec<u8>> {
        Err(crate::arguments::no_migration(from, Self::SCHEMA_VERSION))
    }

    /// Runs `#[before_upgrade]`; the error is JSON.
    fn before_upgrade() -> Result<(), Vec<u8>> {
        Ok(())
    }

    /// Runs `#[after_upgrade]`; the error is JSON.
    fn after_upgrade() -> Result<(), Vec<u8>> {
        Ok(())
    }

    /// Whether there is `#[inspect]`.
    const INSPECTS: bool = false;

    /// Runs `#[inspect]`; the error is JSON.
    fn inspect(_method: &str, _args: &[u8]) -> Result<(), Vec<u8>> {
        Ok(())
    }

    /// Runs `#[stop]`; the error is JSON.
    fn stop() -> Result<(), Vec<u8>> {
        Ok(())
    }

    /// Runs `#[low_memory]`; the error is JSON.
    fn low_memory() -> Result<(), Vec<u8>> {
        Ok(())
    }

    /// Runs a handler; answer and error are JSON.
    fn handle(handler: &str, _args: &[u8]) -> Reply {
        Err(crate::arguments::unknown_handler(handler))
    }
}

/// What an application is.
#[derive(Debug, Clone, Copy)]
pub struct Description {
    /// Its methods, in the order of the source.
    pub methods: &'static [Method],
    /// What `#[init]` takes.
    pub init_parameters: &'static [Parameter],
}

/// One method of an application.
#[derive(Debug, Clone, Copy)]
pub struct Method {
    /// Its name.
    pub name: &'static str,
    /// Whether it may write.
    pub kind: MethodKind,
    /// What it takes, in the order of the source.
    pub parameters: &'static [Parameter],
    /// What it returns, as the author wrote it.
    pub returns: &'static str,
    /// Its doc comment.
    pub doc: &'static str,
}

/// Whether a method may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MethodKind {
    /// Reads a committed snapshot.
    Query,
    /// May write.
    Update,
}

/// One parameter of a method.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Its name, and the member's name in the arguments.
    pub name: &'static str,
    /// Its type, as the author wrote it.
    pub type_name: &'static str,
}
