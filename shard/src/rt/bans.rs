//! The bans of clippy.toml on glommio, each broken once: clippy says nothing about
//! a path that names nothing, so a ban may have no effect and look as if it had.
//! `expect` fails the lint where a ban does not fire. Compiled by clippy alone.

#![expect(dead_code, reason = "only there to be found by clippy")]

use std::time::Duration;

#[expect(clippy::disallowed_methods, reason = "shows the ban")]
fn latency() -> glommio::Latency {
    glommio::Latency::Matters(Duration::ZERO)
}

#[expect(clippy::disallowed_methods, reason = "shows the ban")]
fn timer(builder: glommio::LocalExecutorBuilder) -> glommio::LocalExecutorBuilder {
    builder.preempt_timer(Duration::ZERO)
}

#[expect(clippy::disallowed_methods, reason = "shows the ban")]
fn timers(builder: glommio::LocalExecutorPoolBuilder) -> glommio::LocalExecutorPoolBuilder {
    builder.preempt_timer(Duration::ZERO)
}

#[expect(clippy::disallowed_methods, reason = "shows the ban")]
fn blocking(proxy: &glommio::ExecutorProxy) -> impl Future<Output = ()> {
    proxy.spawn_blocking(|| ())
}
