//! The server that Corelet is compared with: plain tokio, axum and heed, no
//! WASM, no scheduler, no limits.
//!
//! It is what one would write to answer exactly these JSON bodies and nothing
//! else, and it is meant to be hard to beat: bodies are parsed borrowed, reads
//! run inside the handler on a snapshot, writes share an LMDB transaction, and
//! a reply waits for the flush. It keeps its data under one core like the
//! server under test. What it does not do, and the server does: run foreign
//! code, keep a log of changes, meter, queue fairly, or refuse anything.
//!
//! One thread runs everything but the commits (`ledger.rs`). Start reading at
//! [`serve`], then [`execute`].

#![expect(
    clippy::disallowed_methods,
    reason = "no shard runs in the baseline: it is there to be what tokio makes of the same work"
)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use tokio::net::TcpListener;

mod ledger;
mod rpc;

use ledger::{Ledger, Writer};

/// Arguments of `corelet-bench baseline`.
#[derive(clap::Args)]
pub(crate) struct BaselineArgs {
    /// Where the LMDB environment and the token live; created when missing.
    #[arg(long)]
    data_dir: PathBuf,
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The core that both threads are pinned to.
    #[arg(long)]
    core: Option<usize>,
}

/// What every handler shares.
struct App {
    ledger: Ledger,
    writer: Writer,
    /// The complete `Authorization` value that is let in.
    authorization: String,
}

/// Serves until the process is ended. A kill is a clean end here: LMDB keeps
/// what it has acknowledged.
pub(crate) fn serve(args: BaselineArgs) -> Result<()> {
    if let Some(core) = args.core {
        // Before any thread is started, so that all of them inherit it.
        let mut cores = rustix::thread::CpuSet::new();
        cores.set(core);
        rustix::thread::sched_setaffinity(None, &cores)
            .with_context(|| format!("pin to core {core}"))?;
    }
    let ledger = Ledger::open(&args.data_dir)?;
    let token = ledger::token(&args.data_dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("start tokio")?;
    runtime.block_on(async {
        let writer = ledger.start_writer()?;
        let app = Arc::new(App {
            ledger,
            writer,
            authorization: format!("Bearer {token}"),
        });
        let routes = Router::new()
            .route("/rpc", post(rpc::execute))
            .route("/v1/applications", post(rpc::install))
            .route("/v1/contexts", post(rpc::create_context))
            .route("/readyz", get(|| async { "ready\n" }))
            .layer(DefaultBodyLimit::max(1 << 20))
            .with_state(app);
        let listener = TcpListener::bind(args.listen)
            .await
            .with_context(|| format!("listen on {}", args.listen))?;
        println!("listening on {}", listener.local_addr()?);
        let listener = listener.tap_io(|stream| {
            // Fails only on a socket that is already gone, which the next read
            // will notice.
            let _ = stream.set_nodelay(true);
        });
        axum::serve(listener, routes).await.context("serve")
    })
}
