//! Between nodes: identity.
//!
//! A node is its Ed25519 key. This crate makes that key, keeps it, and signs
//! and verifies with it; links, frames and gossip join it later. It never heard
//! of WASM, of storage or of which core owns a key.
//!
//! Start reading at [`identity`].

#![forbid(unsafe_code)]

mod error;
pub mod identity;

pub use error::IdentityError;
pub use identity::{Domain, Identity, Signature, verify};
