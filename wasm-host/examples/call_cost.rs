//! What the border costs: calls, host calls, instances and loading, without a
//! server around them. Prints medians and counts of allocations.
//!
//! ```sh
//! taskset -c 1 cargo run --release -p corelet-wasm-host --example call_cost
//! ```
//!
//! The kv application is measured if `target/apps/kv.wasm` is there. With an
//! argument only the line of that name is measured, for a minute: for a
//! profiler.

use std::alloc::{GlobalAlloc, Layout};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::hint::black_box;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use corelet_wasm_host::{
    Entry, GuestState, Host, HostConfig, Instance, LoadSource, MethodKind, Module, Turn,
};

use mimalloc::MiMalloc;

/// The server's allocator, with a counter in front.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: hands everything on to another allocator; counting changes none
// of it. There is no other way to see allocations.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { MiMalloc.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { MiMalloc.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { MiMalloc.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// A warm instance, and the state that it works on.
struct Warm {
    instance: Option<Instance>,
    state: Option<Box<dyn GuestState>>,
    caller: Arc<str>,
}

impl Warm {
    fn new(module: &Arc<Module>, state: Box<dyn GuestState>) -> Warm {
        let instance = module.instantiate().expect("an instance");
        Warm {
            instance: Some(instance),
            state: Some(state),
            caller: "alice".into(),
        }
    }

    fn call(&mut self, method: &Arc<str>, kind: MethodKind, args: &Bytes) -> Vec<u8> {
        let turn = Turn {
            entry: Entry::Call {
                method: Arc::clone(method),
                kind,
            },
            args: args.clone(),
            context: [7; 32],
            caller: Arc::clone(&self.caller),
            author: [5; 32],
            now_nanos: 1,
            seed: [9; 32],
            state_version: 1,
            fuel_max: 1_000_000_000,
            queries: 0,
            state: self.state.take().expect("it came back"),
        };
        let mut running = self.instance.take().expect("it came back").run(turn);
        let mut cx = Context::from_waker(Waker::noop());
        let finished = loop {
            if let Poll::Ready(finished) = Pin::new(&mut running).poll(&mut cx) {
                break finished;
            }
        };
        self.instance = finished.instance;
        self.state = Some(finished.state);
        finished
            .outcome
            .unwrap_or_else(|failure| panic!("{failure}"))
            .bytes
    }
}

/// Runs `step` in samples of `count`; prints the median time of one, and how
/// often one allocates.
fn measure(name: &str, count: u32, mut step: impl FnMut()) {
    let only = std::env::args().nth(1);
    let samples = match &only {
        Some(only) if only == name => usize::MAX,
        Some(_) => return,
        None => 201,
    };
    let begin = Instant::now();
    let mut nanos = Vec::new();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..samples {
        let began = Instant::now();
        for _ in 0..count {
            step();
        }
        nanos.push(began.elapsed().as_nanos() as f64 / f64::from(count));
        if begin.elapsed() > Duration::from_secs(if only.is_some() { 60 } else { 3 }) {
            break;
        }
    }
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    let steps = nanos.len() as f64 * f64::from(count);
    nanos.sort_by(f64::total_cmp);
    println!(
        "{name:32} {:>12.2} us  (fastest {:>10.2})  {:>8.1} allocations",
        nanos[nanos.len() / 2] / 1_000.0,
        nanos[0] / 1_000.0,
        allocations as f64 / steps,
    );
}

/// A component of the test guests' frame around `call`.
fn component(fields: &str, call: &str) -> Vec<u8> {
    let call = format!(
        "{fields}\n(func $call (param i32 i32 i32 i32) (result i32) (local $n i32)\n{call}\n(call $ok-null))"
    );
    let allocate = r#"(func (export "realloc") (param i32 i32 i32 i32) (result i32)
        (local $at i32)
        (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
        (global.set $free (i32.add (local.get $at) (local.get 3)))
        (local.get $at))"#;
    let text = include_str!("../tests/guests/frame.wat")
        .replace("{{memory}}", "2")
        .replace("{{realloc}}", allocate)
        .replace("{{reset}}", "(global.set $free (i32.const 8192))")
        .replace(
            "{{describe}}",
            "(func $describe (result i32) (i32.const 64))",
        )
        .replace(
            "{{init}}",
            "(func $init (param i32 i32) (result i32) (call $ok-null))",
        )
        .replace("{{guest}}", &call);
    wat::parse_str(&text).expect("valid text")
}

/// About a mebibyte of functions that are all different.
fn large_component() -> Vec<u8> {
    let mut functions = String::new();
    for i in 0..4_150 {
        let _ = write!(functions, "(func (param i32 i32) (result i32) (local i32)");
        for step in 0..9 {
            let _ = write!(
                functions,
                "(local.set 2 (i32.add (i32.mul (local.get 0) (i32.const {}))
                   (i32.load offset={} (local.get 1))))
                 (if (local.get 2) (then (local.set 0 (i32.xor (local.get 2) (local.get 1)))))",
                i * 31 + step,
                step * 4,
            );
        }
        functions.push_str("(local.get 0))\n");
    }
    component(&functions, "")
}

fn host(cache_dir: Option<&Path>) -> Host {
    let mut config = HostConfig::new(64);
    config.cache_dir = cache_dir.map(Into::into);
    Host::new(config).expect("a host")
}

fn cold(name: &str, wasm: &[u8]) {
    let dir = tempfile::tempdir().expect("a directory");
    let began = Instant::now();
    let host = host(Some(dir.path()));
    let report = host.load_with_report(wasm).expect("it loads");
    assert_eq!(report.source, LoadSource::Compiler);
    if std::env::args().len() == 1 {
        println!(
            "{:32} {:>12.2} ms  ({} bytes, {} of machine code)",
            format!("{name}: compile"),
            began.elapsed().as_secs_f64() * 1_000.0,
            wasm.len(),
            report.module.compiled_bytes(),
        );
    }
    drop(report);
    measure(&format!("{name}: load from disk"), 1, || {
        let report = host.load_with_report(wasm).expect("it loads");
        assert_eq!(report.source, LoadSource::Disk);
    });
}

fn fresh(name: &str, module: &Arc<Module>) {
    measure(name, 100, || {
        drop(black_box(module.instantiate().expect("an instance")))
    });
}

fn main() {
    let host = host(None);
    let empty = || Box::new(BTreeMap::<Vec<u8>, Vec<u8>>::new());
    let run: Arc<str> = "run".into();
    let args = Bytes::from_static(b"{}");
    let query = MethodKind::Query;

    let trivial = host.load(&component("", "")).expect("it loads");
    let mut warm = Warm::new(&trivial, empty());
    measure("warm call, trivial", 1_000, || {
        black_box(warm.call(&run, query, &args));
    });
    let calls = |body: &str| {
        component(
            "",
            &format!(
                "(local.set $n (i32.const 1000))
                 (loop $again {body}
                   (local.set $n (i32.sub (local.get $n) (i32.const 1)))
                   (br_if $again (local.get $n)))"
            ),
        )
    };
    for (name, body) in [
        ("1000 host calls, context.now", "(drop (call $now))"),
        (
            "1000 host calls, storage.get",
            "(call $get (i32.const 272) (i32.const 4) (i32.const 512))",
        ),
    ] {
        let mut warm = Warm::new(&host.load(&calls(body)).expect("it loads"), empty());
        measure(name, 1, || {
            black_box(warm.call(&run, query, &args));
        });
    }
    fresh("fresh instance, trivial", &trivial);

    let kv = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/apps/kv.wasm");
    match std::fs::read(kv) {
        Err(error) => println!("kv is not measured: {kv}: {error}"),
        Ok(wasm) => {
            let module = host.load(&wasm).expect("kv loads");
            let mut warm = Warm::new(&module, empty());
            let (get, set): (Arc<str>, Arc<str>) = ("get".into(), "set".into());
            let key = Bytes::from_static(br#"{"key":"key-0001"}"#);
            let pair = Bytes::from_static(
                br#"{"key":"key-0001","value":"a value of thirty-two bytes here."}"#,
            );
            let update = MethodKind::Update;
            warm.call(&set, update, &pair);
            assert_eq!(
                warm.call(&get, query, &key),
                br#""a value of thirty-two bytes here.""#
            );
            measure("warm call, kv get", 1_000, || {
                black_box(warm.call(&get, query, &key));
            });
            measure("warm call, kv set", 1_000, || {
                black_box(warm.call(&set, update, &pair));
            });
            fresh("fresh instance, kv", &module);
            measure("fresh instance and get, kv", 100, || {
                let mut warm = Warm::new(&module, empty());
                black_box(warm.call(&get, query, &key));
            });
            cold("kv", &wasm);
        }
    }
    cold("large", &large_component());
}
