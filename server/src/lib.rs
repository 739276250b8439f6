//! The outside of Corelet: configuration, HTTP front door, JSON-RPC, admin API,
//! metrics and the `corelet` binary. No rule about state or merging lives here.
//!
//! Start reading at [`serve`], then `http/`; the commands begin in [`cli`].

#![forbid(unsafe_code)]
// `cli/output.rs` is the one place that prints, and takes the lock by itself.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod api;
pub mod auth;
pub mod cli;
pub mod client;
pub mod config;
mod dev;
mod facts;
mod figures;
mod http;
mod lines;
mod log;
mod metrics;
pub mod preflight;
mod private_dir;
pub mod refusal;
mod rpc;
mod run_file;
pub mod serve;
