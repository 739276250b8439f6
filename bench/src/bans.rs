//! The bans of clippy.toml on axum and tokio, each broken once: clippy says nothing about
//! a path that names nothing, so a ban may have no effect and look as if it had.
//! `expect` fails the lint where a ban does not fire. Compiled by clippy alone.

#![expect(dead_code, reason = "only there to be found by clippy")]

use axum::response::sse::{KeepAlive, KeepAliveStream, Sse};

#[expect(clippy::disallowed_methods, reason = "shows the ban")]
fn keep_alive<S>(events: Sse<S>) -> Sse<KeepAliveStream<S>> {
    events.keep_alive(KeepAlive::new())
}

#[expect(clippy::disallowed_methods, reason = "shows the ban")]
fn serve(listener: tokio::net::TcpListener) {
    drop(axum::serve(listener, axum::Router::new()));
}

#[expect(clippy::disallowed_methods, reason = "shows the ban")]
fn spawn() {
    drop(tokio::spawn(std::future::ready(())));
}
