//! The `corelet` binary: a server for replicated WebAssembly applications, and
//! the commands to talk to one.
//!
//! `corelet serve` starts one shard per core (`serve.rs`). Each shard accepts
//! connections (`http/`), reads JSON-RPC (`rpc/`), and hands calls to the shard
//! that owns the context; that shard runs the guest, commits what it wrote, and
//! only then the answer goes back. All other commands are clients (`cli/`).

#![forbid(unsafe_code)]

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    corelet_server::cli::run()
}
