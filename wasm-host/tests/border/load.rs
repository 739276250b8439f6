//! What is an application, and what is refused at the door with which words.

use std::process::Command;

use corelet_wasm_host::{Failure, Limits, MethodKind, Refused};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::guest;
use crate::state::MapState;
use crate::{failure, finish, host, host_with, host_with_cache, load, update};

/// A guest that does nothing, with `extra` in its core module.
fn with_extra(extra: &str) -> Vec<u8> {
    let call = "(func $call (param i32 i32 i32 i32) (result i32) (call $ok-null))";
    guest::assemble(&format!("{extra}\n{call}"))
}

fn refused(wasm: &[u8]) -> Refused {
    host().load(wasm).expect_err("it was loaded")
}

fn check_limit(limits: Limits, wasm: &[u8], expected: &str) {
    let host = host_with(limits);
    let text = host.load(wasm).expect_err(expected).to_string();
    assert_eq!(text, expected);
    assert_eq!(host.stats().compiles, 0, "compiled before it was refused");
}

#[test]
fn a_description_is_read_once_when_the_module_is_loaded() {
    let module = load(&host(), "echo");
    let description = module.description();
    assert_eq!(
        (description.name(), description.version()),
        ("guest", "1.0.0")
    );
    let method = description.method("run").unwrap();
    assert_eq!(
        (method.kind, method.returns.as_str()),
        (MethodKind::Update, "u64")
    );
    assert_eq!(
        module.id(),
        corelet_wasm_host::ModuleId::of(&guest::component("echo"))
    );
    assert!(module.compiled_bytes() > 1_000);
}

#[test]
fn what_is_not_a_component_is_refused_by_name() {
    for (bytes, expected) in [
        (&b""[..], "this is not WebAssembly: the file is empty"),
        (
            b"(module)",
            "this is not WebAssembly: it looks like WebAssembly text; assemble it first",
        ),
        (
            b"\x7fELF\x02\x01",
            "this is not WebAssembly: it is a native program (ELF)",
        ),
        (
            b"#!/bin/sh\n",
            "this is not WebAssembly: it begins with [23, 21, 2f, 62]",
        ),
        (
            b"\0asm\x09\0\0\0",
            "this is not WebAssembly: a WebAssembly header of an unknown version [9, 0, 0, 0]",
        ),
    ] {
        assert_eq!(refused(bytes).to_string(), expected);
    }
    assert_eq!(
        refused(&wat::parse_str("(module)").unwrap()),
        Refused::CoreModule
    );
}

#[test]
fn damaged_components_are_refused() {
    let wasm = guest::component("echo");
    let mut at = 0;
    let mut damaged_count = 0;
    let host = host();
    // Every byte in turn: most are refused, some still are a component, none
    // does harm.
    while at < wasm.len() {
        let mut damaged = wasm.clone();
        damaged[at] ^= 0x55;
        damaged_count += u64::from(host.load(&damaged).is_err());
        at += 7;
    }
    assert!(damaged_count > 100, "{damaged_count}");
    for end in [8, 9, 20, wasm.len() / 2, wasm.len() - 1] {
        assert!(host.load(&wasm[..end]).is_err(), "cut off at {end}");
    }
    assert_eq!(host.stats().failures.our_bug, 0);
}

#[test]
fn components_of_another_world_are_refused_with_the_import_or_export() {
    let import = wat::parse_str(
        r#"(component (import "wasi:cli/environment@0.2.0" (instance
             (export "get-arguments" (func (result (list string)))))))"#,
    );
    let text = refused(&import.unwrap()).to_string();
    assert!(
        text.starts_with("import `wasi:cli/environment@0.2.0` does not fit"),
        "{text}"
    );

    let empty = wat::parse_str("(component)").unwrap();
    let text = refused(&empty).to_string();
    assert!(text.starts_with("export `describe` does not fit"), "{text}");
    assert!(text.ends_with("it is missing"), "{text}");

    let mistyped = wat::parse_str(
        r#"(component (import "corelet:app/storage@0.2.0" (instance
             (export "get" (func (param "key" string) (result (option (list u8)))))))
           (core module $m (func (export "f")))
           (core instance $m (instantiate $m))
           (func (export "describe") (canon lift (core func $m "f")))
           (func (export "init") (canon lift (core func $m "f")))
           (func (export "call") (canon lift (core func $m "f"))))"#,
    );
    let text = refused(&mistyped.unwrap()).to_string();
    assert!(
        text.starts_with("import `corelet:app/storage@0.2.0` does not fit"),
        "{text}"
    );
    assert!(text.contains("get"), "{text}");

    let mistyped = wat::parse_str(
        r#"(component
           (core module $m (func (export "f")))
           (core instance $m (instantiate $m))
           (func (export "describe") (canon lift (core func $m "f")))
           (func (export "init") (canon lift (core func $m "f")))
           (func (export "call") (canon lift (core func $m "f"))))"#,
    );
    let text = refused(&mistyped.unwrap()).to_string();
    assert!(text.starts_with("export `describe` does not fit"), "{text}");
}

#[test]
fn shapes_beyond_the_limits_are_refused_before_they_are_compiled() {
    let default = Limits::default;
    let repeated = |line: &str, count: usize| with_extra(&format!("{line}\n").repeat(count));
    // 250,000 functions, 100,000 globals; the frame brings some of its own.
    let functions = repeated("(func)", 250_000);
    check_limit(
        default(),
        &functions,
        "functions_max exceeded: 250103 of at most 200000",
    );
    let globals = repeated("(global i32 (i32.const 0))", 100_000);
    check_limit(
        default(),
        &globals,
        "globals_max exceeded: 100001 of at most 1000",
    );
    let exports: String = (0..100_000)
        .map(|n| format!("(export \"f{n}\" (func $ok))"))
        .collect();
    check_limit(
        default(),
        &with_extra(&exports),
        "exports_max exceeded: 100006 of at most 1000",
    );
    let types = (0..20_000).map(|n| {
        let bits = (0..15).map(|bit| if n >> bit & 1 == 1 { " i32" } else { " i64" });
        format!("(type (func (param{})))", bits.collect::<String>())
    });
    let types = with_extra(&types.collect::<String>());
    let text = host().load(&types).unwrap_err().to_string();
    assert!(text.starts_with("types_max exceeded: 200"), "{text}");

    let data = repeated("(data \"x\")", 10_001);
    check_limit(
        default(),
        &data,
        "data_segments_max exceeded: 10004 of at most 10000",
    );
    let elements = repeated("(elem func)", 10_001);
    check_limit(
        default(),
        &elements,
        "element_segments_max exceeded: 10001 of at most 10000",
    );
    let tables = repeated("(table 1 funcref)", 5);
    check_limit(default(), &tables, "tables_max exceeded: 5 of at most 4");
    let table = with_extra("(table 50001 funcref)");
    check_limit(
        default(),
        &table,
        "table_elements_max exceeded: 50001 of at most 50000",
    );
    let memory = with_extra("(memory 1)");
    check_limit(default(), &memory, "memories_max exceeded: 2 of at most 1");
    let body = with_extra(&format!(
        "(func {})",
        "(drop (i32.const 1))".repeat(400_000)
    ));
    let text = host().load(&body).unwrap_err().to_string();
    assert!(
        text.starts_with("function_bytes_max exceeded: 12000"),
        "{text}"
    );

    let nothing = "(func $call (param i32 i32 i32 i32) (result i32) (call $ok-null))";
    let large = guest::with_memory(nothing, "1025");
    check_limit(
        default(),
        &large,
        "memory_bytes_max exceeded: 67174400 of at most 67108864",
    );
    let limits = Limits {
        module_bytes_max: 100,
        ..default()
    };
    let wasm = with_extra("");
    let expected = format!("module_bytes_max exceeded: {} of at most 100", wasm.len());
    check_limit(limits, &wasm, &expected);
    let limits = Limits {
        core_modules_max: 1,
        ..default()
    };
    check_limit(limits, &wasm, "core_modules_max exceeded: 2 of at most 1");
    let limits = Limits {
        imports_max: 10,
        ..default()
    };
    check_limit(limits, &wasm, "imports_max exceeded: 55 of at most 10");
}

#[test]
fn what_cannot_be_metered_or_bounded_is_refused() {
    let nested = wat::parse_str("(component (component))").unwrap();
    assert_eq!(
        refused(&nested).to_string(),
        "nested_components_max exceeded: 1 of at most 0"
    );
    let resource = wat::parse_str("(component (type (resource (rep i32))))").unwrap();
    assert_eq!(
        refused(&resource).to_string(),
        "unsupported: resources of its own"
    );
    let threads = with_extra("(func (drop (i32.atomic.load (i32.const 0))))");
    assert!(matches!(refused(&threads), Refused::Invalid { .. }));
    let relaxed = with_extra(
        "(func (drop (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0))))",
    );
    assert!(matches!(refused(&relaxed), Refused::Invalid { .. }));
    let collected = with_extra("(type $t (struct (field i32)))");
    assert!(matches!(refused(&collected), Refused::Invalid { .. }));
    let exception = with_extra("(tag $t)");
    assert_eq!(refused(&exception).to_string(), "unsupported: exceptions");
    let start = with_extra("(table 1 (ref func) (ref.func $ok)) (elem declare func $ok)");
    assert_eq!(
        refused(&start).to_string(),
        "unsupported: tables with an initial element"
    );
}

#[test]
fn an_application_that_cannot_describe_itself_is_refused() {
    for (name, expected) in [
        (
            "describe_with_state",
            "storage.get was called outside of a call",
        ),
        (
            "describe_endless",
            "used all of its 100000000 units of fuel",
        ),
        ("describe_garbage", "out of bounds"),
        ("describe_nameless", r#"the application has the name """#),
        ("start_endless", "used all of its 1000000 units of fuel"),
        (
            "start_with_host_call",
            "context.now was called outside of a call",
        ),
        ("bad_data", "out of bounds"),
    ] {
        let host = host();
        let text = host.load(&guest::component(name)).unwrap_err().to_string();
        assert!(text.contains(expected), "{name}: {text}");
        assert_eq!(host.stats().instances_live, 0, "{name}");
    }
    assert_eq!(
        load(&host(), "describe_with_log").description().name(),
        "guest"
    );
}

/// Refusals are remembered, so none of them may be large.
#[test]
fn the_name_of_an_import_is_cut_in_its_refusal() {
    let name = "c".repeat(80_000);
    let import = format!(r#"(component (import "a:b/{name}" (instance)))"#);
    let refused = refused(&wat::parse_str(import).unwrap());
    let Refused::Import { name, .. } = &refused else {
        panic!("{refused}")
    };
    assert!(
        name.starts_with("a:b/ccc") && name.ends_with("c…"),
        "{name}"
    );
    assert!(name.len() < 1_000, "{} bytes", name.len());
}

/// In a process of its own, because the limit is one of processes.
#[test]
fn no_application_is_blamed_for_memory_that_the_system_does_not_give() {
    let starved = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "load::load_and_run_without_memory",
            "--nocapture",
        ])
        .env("CORELET_TEST_STARVE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&starved.stderr);
    assert!(starved.status.success(), "{}: {said}", starved.status);
    let said = String::from_utf8_lossy(&starved.stdout);
    assert!(said.contains("starved and fed again"), "{said}");
}

/// The other process of the test above; nothing by itself.
#[test]
fn load_and_run_without_memory() {
    if std::env::var_os("CORELET_TEST_STARVE").is_none() {
        return;
    }
    // 32 MiB from its beginning, and as much in five steps.
    let large = guest::with_memory(include_str!("../guests/echo.wat"), "500 500");
    let bomb = include_str!("../guests/memory_bomb.wat");
    let bomb = bomb.replace("grow (i32.const 1)", "grow (i32.const 100)");
    let dir = tempfile::tempdir().unwrap();
    // So that nothing has to be compiled later.
    host_with_cache(dir.path(), 1).load(&large).unwrap();
    let host = host_with_cache(dir.path(), 1);
    let bomb = host.load(&guest::assemble(&bomb)).unwrap();
    let bomb = bomb.instantiate().unwrap();

    let before = getrlimit(Resource::Data);
    let little = Rlimit {
        current: Some(private_bytes() + (8 << 20)),
        ..before
    };
    setrlimit(Resource::Data, little).unwrap();
    let refused = host.load(&large);
    let finished = finish(bomb.run(update("{}", MapState::default())));
    setrlimit(Resource::Data, before).unwrap();

    let Err(Refused::OurBug { .. }) = &refused else {
        panic!("{refused:?}")
    };
    let failure = failure(finished);
    assert!(matches!(failure, Failure::OurBug { .. }), "{failure}");
    // The moment was at fault.
    host.load(&large).unwrap().instantiate().unwrap();
    println!("starved and fed again");
}

/// What counts towards that limit.
fn private_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:"));
    let kib = line.unwrap().trim().strip_suffix(" kB").unwrap();
    kib.parse::<u64>().unwrap() << 10
}

#[test]
fn a_refusal_is_remembered_and_the_oldest_forgotten() {
    let host = host_with(Limits {
        refusals_kept_max: 2,
        ..Limits::default()
    });
    let wasm = guest::component("describe_nameless");
    let first = host.load(&wasm).unwrap_err();
    assert_eq!(host.load(&wasm).unwrap_err(), first);
    let stats = host.stats();
    assert_eq!(
        (stats.compiles, stats.refusals, stats.refusals_remembered),
        (1, 1, 1)
    );

    for bytes in [&b"one"[..], b"two"] {
        host.load(bytes).unwrap_err();
    }
    host.load(&wasm).unwrap_err();
    assert_eq!(host.stats().compiles, 2);
}

#[test]
fn the_same_content_is_compiled_once_however_many_ask() {
    let host = host();
    let wasm = guest::component("echo");
    let modules: Vec<_> = std::thread::scope(|scope| {
        let loads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| host.load(&wasm).unwrap()))
            .collect();
        loads.into_iter().map(|load| load.join().unwrap()).collect()
    });
    assert!(
        modules
            .iter()
            .all(|module| std::sync::Arc::ptr_eq(module, &modules[0]))
    );
    assert_eq!(host.stats().compiles, 1);
}

/// The right names are not enough.
#[test]
fn imports_and_exports_of_another_type_are_refused_by_name() {
    let frame = include_str!("../guests/frame.wat");
    for (from, to, expected) in [
        (
            r#""now" (func (result u64))"#,
            r#""now" (func (result s64))"#,
            "import `corelet:app/context@0.2.0`",
        ),
        (
            r#"(export "now" (func (result"#,
            r#"(export "later" (func)) (export "now" (func (result"#,
            "import `corelet:app/context@0.2.0`",
        ),
        (
            r#"(func (export "init") (param "args" (list u8))"#,
            r#"(func (export "init") (param "args" string)"#,
            "export `init`",
        ),
        (
            r#"(func (export "call") (param "method" string)"#,
            r#"(func (export "call") (param "method" (list u8))"#,
            "export `call`",
        ),
        (
            r#"(func (export "call")"#,
            r#"(func (export "cull")"#,
            "export `call`",
        ),
    ] {
        assert!(frame.contains(from), "{from}");
        let nothing = "(func $call (param i32 i32 i32 i32) (result i32) (call $ok-null))";
        let text = guest::text(nothing).replace(from, to);
        let refused = refused(&wat::parse_str(&text).unwrap()).to_string();
        assert!(
            refused.starts_with(&format!("{expected} does not fit")),
            "{to}: {refused}"
        );
    }
}

/// A few bytes declare fifty thousand locals, and a compiler keeps books about
/// each of them.
#[test]
fn locals_are_bounded_by_function_and_altogether() {
    let locals = |count: usize, functions: usize| {
        let function = format!("(func (local {}))\n", "i64 ".repeat(count));
        with_extra(&function.repeat(functions))
    };
    let default = Limits::default;
    check_limit(
        default(),
        &locals(10_001, 1),
        "function_locals_max exceeded: 10001 of at most 10000",
    );
    check_limit(
        default(),
        &locals(10_000, 401),
        "locals_max exceeded: 4000002 of at most 4000000",
    );
}

#[test]
fn descriptions_that_lie_about_their_length_are_refused() {
    let describing = |count: u32| {
        let describe = format!(
            "(func $describe (result i32) (i32.store (i32.const 80) (i32.const 8192)) (i32.store (i32.const 84) (i32.const {count})) (i32.const 64))\n\
             (func $call (param i32 i32 i32 i32) (result i32) (call $ok-null))"
        );
        refused(&guest::assemble(&describe)).to_string()
    };
    let text = describing(300_000_000);
    assert!(text.contains("out of bounds"), "{text}");
    let text = describing(1_500);
    assert_eq!(
        text,
        "the application describes itself wrongly: methods_max exceeded: 1500 of at most 500"
    );
}
