//! The border with strangers' code, from the outside: what may be loaded, what
//! a turn may do, what happens to those who do more, and what is kept on disk.

mod blobs;
mod cache;
mod calls;
mod guest;
mod hooks;
mod hostile;
mod kinds;
mod load;
mod prices;
mod sequences;
mod stable;
mod state;
mod turns;
mod wit;

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use corelet_wasm_host::{
    Entry, Failure, Finished, Host, HostConfig, Limits, MethodKind, Module, Running, Turn,
};

use state::MapState;

/// Under whose key the turns write.
const AUTHOR: [u8; 32] = [b'A'; 32];

/// Enough for every guest that means to finish.
const FUEL_MAX: u64 = 50_000_000;

fn host() -> Host {
    host_with(Limits::default())
}

fn host_with(limits: Limits) -> Host {
    Host::new(HostConfig {
        limits,
        ..HostConfig::new(4)
    })
    .unwrap()
}

fn host_with_cache(dir: &Path, key: u8) -> Host {
    let cache_dir = Some(dir.to_owned());
    Host::new(HostConfig {
        cache_dir,
        cache_key: [key; 32],
        ..HostConfig::new(4)
    })
    .unwrap()
}

fn load(host: &Host, name: &str) -> Arc<Module> {
    host.load(&guest::component(name))
        .unwrap_or_else(|refused| panic!("{name}: {refused}"))
}

fn turn(kind: MethodKind, args: &str, state: MapState) -> Turn {
    Turn {
        entry: Entry::Call {
            method: "run".into(),
            kind,
        },
        args: Bytes::copy_from_slice(args.as_bytes()),
        context: [7; 32],
        caller: "alice".into(),
        author: AUTHOR,
        now_nanos: 1_000,
        seed: [9; 32],
        state_version: 100,
        fuel_max: FUEL_MAX,
        queries: 0,
        state: Box::new(state),
    }
}

fn update(args: &str, state: MapState) -> Turn {
    turn(MethodKind::Update, args, state)
}

fn query(args: &str, state: MapState) -> Turn {
    turn(MethodKind::Query, args, state)
}

/// One poll.
fn poll(running: &mut Running) -> Poll<Finished> {
    Pin::new(running).poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls to the end.
fn finish(mut running: Running) -> Finished {
    loop {
        if let Poll::Ready(finished) = poll(&mut running) {
            return finished;
        }
    }
}

/// Runs one update of a fresh instance of the guest called `name`.
fn run(host: &Host, name: &str, args: &str) -> Finished {
    finish(
        load(host, name)
            .instantiate()
            .unwrap()
            .run(update(args, MapState::default())),
    )
}

fn output(finished: &Finished) -> &str {
    match &finished.outcome {
        Ok(output) => std::str::from_utf8(&output.bytes).unwrap(),
        Err(failure) => panic!("no output: {failure}"),
    }
}

fn failure(finished: Finished) -> Failure {
    match finished.outcome {
        Ok(output) => panic!("an output: {}", String::from_utf8_lossy(&output.bytes)),
        Err(failure) => failure,
    }
}

fn state_of(finished: Finished) -> MapState {
    *finished.state.into_any().downcast().unwrap()
}
