//! The front door of the real binary under bad input, slow clients and too many
//! of them. Each test starts its own server, speaks to it over a plain socket,
//! and ends by showing that the server, its state and everyone else's calls are as
//! before: a good call works, SIGTERM ends it with exit code 0, and its log has no
//! error line.
//!
//! What the commands print is tested in `../cli/`; parsing alone, beside the code.

mod admin;
mod auth;
mod blobs;
mod bounds;
mod calls;
mod ledger;
mod server;
mod stopping;
