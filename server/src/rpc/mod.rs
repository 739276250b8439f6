//! JSON-RPC 2.0: what arrives (`envelope.rs`), what goes back (`answer.rs`).
pub mod answer;
pub mod envelope;
