//! The front door, once per shard: connections, requests, routes, bounds.
//!
//! Start reading at [`serve`] (`door.rs`: accepting and stopping), then
//! `connection.rs` (one connection), `request.rs` (one request), `routes.rs`
//! (everything but JSON-RPC). Everything here lives on one shard's thread.

mod blobs;
mod body;
mod connection;
mod copy;
mod door;
mod parameters;
mod range;
mod reply;
mod request;
pub(crate) mod routes;
mod socket;
mod statistics;
mod uploads;
mod watch;

pub(crate) use door::serve;
