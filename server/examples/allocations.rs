//! How many allocations a call costs, from the socket to the socket: a server in
//! this process behind an allocator that counts, and 64 connections that ask in turns.
//!
//! `target/release/examples/allocations [kv.wasm]` prints allocations and bytes per
//! call, and how often each size was asked for. Counts do not depend on the load of
//! the machine, so they can be compared where times cannot. The client's part of the
//! loop allocates nothing.

use std::alloc::{GlobalAlloc, Layout};
use std::error::Error;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use corelet_server::api::{self, CreateContext};
use corelet_server::cli::args::COMPILE_WORKER;
use corelet_server::client::{Client, Whereabouts};
use corelet_server::config::{Layers, Origin};
use corelet_server::serve::Server;
use mimalloc::MiMalloc;

const CONNECTIONS: usize = 64;
/// Rounds over all connections, after as many that nobody counts.
const ROUNDS: usize = 200;
/// Sizes are counted up to this, in steps of eight bytes.
const SIZES: usize = 1024;
/// Sizes that are shown.
const SHOWN: usize = 24;

static CALLS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
static BY_SIZE: [AtomicU64; SIZES] = [const { AtomicU64::new(0) }; SIZES];

struct Counting;

fn count(size: usize) {
    CALLS.fetch_add(1, Relaxed);
    BYTES.fetch_add(size as u64, Relaxed);
    BY_SIZE[(size / 8).min(SIZES - 1)].fetch_add(1, Relaxed);
}

// SAFETY: everything is passed on to mimalloc, with nothing changed.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as the caller promises.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as the caller promises.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as the caller promises.
        unsafe { MiMalloc.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { MiMalloc.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let kv = std::env::args_os().nth(1);
    // The server has its compiler in a process of its own, made from this program.
    if kv.as_deref().is_some_and(|first| first == COMPILE_WORKER) {
        return Ok(corelet_server::cli::run());
    }
    let kv = kv.unwrap_or_else(|| "target/apps/kv.wasm".into());
    let dir = tempfile::tempdir()?;
    let mut layers = Layers::default();
    for (key, value) in [("http.listen", "127.0.0.1:0"), ("shards.count", "1")] {
        layers.value(key, value, Origin::Command("allocations"));
    }
    let (config, effective) = layers.resolve()?;
    let server = Server::start(config, &effective, dir.path())?;
    let client = Client::find(&Whereabouts {
        data_dir: dir.path().to_owned(),
        url: None,
        token_file: None,
        token: None,
    })?;
    let application = client.install(fs::File::open(kv)?, None)?.id;
    let context: api::Context = client.post(
        "/v1/contexts",
        &CreateContext {
            application,
            name: None,
            args: None,
        },
    )?;
    let mut callers = callers(&client, dir.path())?;
    let request = |method: &str, args: &str| {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"execute","params":{{"context_id":"{}","method":"{method}","args":{args}}}}}"#,
            context.id
        );
        callers.request(&body)
    };
    let write = request(
        "set",
        r#"{"key":"key-0001","value":"sixty-four bytes are neither a short nor a long value to be stored"}"#,
    );
    let read = request("get", r#"{"key":"key-0001"}"#);
    for (name, request) in [("write", write), ("read", read)] {
        callers.rounds(&request)?;
        let before = counts();
        callers.rounds(&request)?;
        show(name, &before, &counts());
    }
    drop(callers);
    server.stop()?;
    Ok(ExitCode::SUCCESS)
}

/// The client's ends of all connections.
struct Callers {
    connections: Vec<TcpStream>,
    authorization: String,
    answer: Vec<u8>,
}

fn callers(client: &Client, data_dir: &Path) -> Result<Callers, Box<dyn Error>> {
    let address: SocketAddr = client.url().trim_start_matches("http://").parse()?;
    let token = fs::read_to_string(data_dir.join("keys").join("token"))?;
    let connections = (0..CONNECTIONS).map(|_| TcpStream::connect(address));
    Ok(Callers {
        connections: connections.collect::<Result<_, _>>()?,
        authorization: format!("Bearer {}", token.trim()),
        answer: vec![0; 64 << 10],
    })
}

impl Callers {
    fn request(&self, body: &str) -> Vec<u8> {
        format!(
            "POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: {}\r\nContent-Length: {}\r\n\r\n{body}",
            self.authorization,
            body.len()
        )
        .into_bytes()
    }

    /// Each connection asks, then each takes its answer, a number of times.
    fn rounds(&mut self, request: &[u8]) -> Result<(), Box<dyn Error>> {
        for _ in 0..ROUNDS {
            for connection in &mut self.connections {
                connection.write_all(request)?;
            }
            for connection in &mut self.connections {
                // Answers are short and come in one piece.
                let got = connection.read(&mut self.answer)?;
                let answer = &self.answer[..got];
                if !answer.starts_with(b"HTTP/1.1 200") || !answer.ends_with(b"}}") {
                    return Err(format!("answered {}", String::from_utf8_lossy(answer)).into());
                }
            }
        }
        Ok(())
    }
}

/// Calls, bytes, then one count per size.
fn counts() -> Vec<u64> {
    [&CALLS, &BYTES]
        .into_iter()
        .chain(&BY_SIZE)
        .map(|count| count.load(Relaxed))
        .collect()
}

fn show(name: &str, before: &[u64], after: &[u64]) {
    let each: Vec<f64> = after
        .iter()
        .zip(before)
        .map(|(after, before)| (after - before) as f64 / (ROUNDS * CONNECTIONS) as f64)
        .collect();
    println!(
        "{name}: {:.1} allocations, {:.0} bytes per call",
        each[0], each[1]
    );
    let mut sizes: Vec<(usize, f64)> = each[2..].iter().copied().enumerate().collect();
    sizes.sort_by(|a, b| b.1.total_cmp(&a.1));
    for (size, each) in sizes.iter().take(SHOWN).filter(|(_, each)| *each > 0.01) {
        println!("  {each:6.2} of {} to {} bytes", size * 8, size * 8 + 7);
    }
}
