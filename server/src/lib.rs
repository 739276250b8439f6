//! The outside of Corelet: configuration, HTTP front door, admin API, metrics and the corelet binary.
#![forbid(unsafe_code)]
pub mod auth;
pub mod config;
pub mod refusal;
pub mod rpc;
