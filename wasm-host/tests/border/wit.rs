//! Our Rust types of the world and `sdk/wit/corelet.wit` are the same thing: a
//! component that the WIT tools make from that file is loaded and runs.

use std::path::Path;

use corelet_wasm_host::{Entry, Failure, Hook};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{PackageId, Resolve};

use crate::state::MapState;
use crate::{finish, host, output, query};

/// A core module as guest toolchains emit it: every function of the world,
/// imported and exported by its name there. (Types are the WIT file's to
/// check: an import that is missing there, or has another type, does not make
/// a component.)
const MODULE: &str = r#"
(module
  (import "corelet:app/context@0.2.1" "id" (func $id (param i32)))
  (import "corelet:app/context@0.2.1" "caller" (func $caller (param i32)))
  (import "corelet:app/context@0.2.1" "author" (func $author (param i32)))
  (import "corelet:app/context@0.2.1" "now" (func $now (result i64)))
  (import "corelet:app/context@0.2.1" "random" (func $random (param i32 i32)))
  (import "corelet:app/context@0.2.1" "state-version" (func $state-version (result i64)))
  (import "corelet:app/context@0.2.1" "fuel-used" (func $fuel-used (result i64)))
  (import "corelet:app/storage@0.2.1" "get" (func $get (param i32 i32 i32 i32)))
  (import "corelet:app/storage@0.2.1" "set" (func $set (param i32 i32 i32 i32 i32)))
  (import "corelet:app/storage@0.2.1" "add" (func $add (param i32 i32 i32 i64) (result i64)))
  (import "corelet:app/storage@0.2.1" "insert" (func $insert (param i32 i32 i32) (result i32)))
  (import "corelet:app/storage@0.2.1" "write-once"
    (func $write-once (param i32 i32 i32 i32 i32) (result i32)))
  (import "corelet:app/storage@0.2.1" "remove" (func $remove (param i32 i32 i32) (result i32)))
  (import "corelet:app/storage@0.2.1" "remove-range"
    (func $remove-range (param i32 i32 i32 i32) (result i32)))
  (import "corelet:app/storage@0.2.1" "scan"
    (func $scan (param i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "corelet:app/storage@0.2.1" "count" (func $count (param i32 i32 i32) (result i64)))
  (import "corelet:app/storage@0.2.1" "list-length"
    (func $list-length (param i32 i32 i32) (result i64)))
  (import "corelet:app/storage@0.2.1" "list-insert"
    (func $list-insert (param i32 i32 i32 i64 i32 i32 i32)))
  (import "corelet:app/storage@0.2.1" "list-append"
    (func $list-append (param i32 i32 i32 i32 i32)))
  (import "corelet:app/storage@0.2.1" "list-remove"
    (func $list-remove (param i32 i32 i32 i64 i64 i32)))
  (import "corelet:app/storage@0.2.1" "list-read"
    (func $list-read (param i32 i32 i32 i64 i32 i32)))
  (import "corelet:app/storage@0.2.1" "text-length"
    (func $text-length (param i32 i32 i32) (result i64)))
  (import "corelet:app/storage@0.2.1" "text-insert"
    (func $text-insert (param i32 i32 i32 i64 i32 i32 i32)))
  (import "corelet:app/storage@0.2.1" "text-append"
    (func $text-append (param i32 i32 i32 i32 i32)))
  (import "corelet:app/storage@0.2.1" "text-remove"
    (func $text-remove (param i32 i32 i32 i64 i64 i32)))
  (import "corelet:app/storage@0.2.1" "text-read"
    (func $text-read (param i32 i32 i32 i64 i64 i32)))
  (import "corelet:app/stable@0.2.1" "size" (func $stable-size (result i64)))
  (import "corelet:app/stable@0.2.1" "grow" (func $stable-grow (param i64) (result i64)))
  (import "corelet:app/stable@0.2.1" "read" (func $stable-read (param i64 i32 i32)))
  (import "corelet:app/stable@0.2.1" "write" (func $stable-write (param i64 i32 i32)))
  (import "corelet:app/blobs@0.2.1" "attach" (func $attach (param i32 i32 i32)))
  (import "corelet:app/blobs@0.2.1" "detach" (func $detach (param i32 i32) (result i32)))
  (import "corelet:app/blobs@0.2.1" "size" (func $size (param i32 i32 i32)))
  (import "corelet:app/blobs@0.2.1" "attached"
    (func $attached (param i32 i32 i32 i32 i32)))
  (import "corelet:app/timers@0.2.1" "arm"
    (func $arm (param i32 i32 i32 i32 i32 i32 i64 i32 i64)))
  (import "corelet:app/timers@0.2.1" "cancel" (func $cancel (param i32 i32) (result i32)))
  (import "corelet:app/timers@0.2.1" "armed" (func $armed (param i32 i32 i32 i32 i32)))
  (import "corelet:app/calls@0.2.1" "query"
    (func $query (param i32 i32 i32 i32 i32 i32 i32)))
  (import "corelet:app/calls@0.2.1" "send"
    (func $send (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "corelet:app/subscriptions@0.2.1" "subscribe"
    (func $subscribe (param i32 i32 i32 i32 i32 i32 i32 i32 i64 i32)))
  (import "corelet:app/subscriptions@0.2.1" "unsubscribe"
    (func $unsubscribe (param i32 i32 i32 i32) (result i32)))
  (import "corelet:app/subscriptions@0.2.1" "subscribed" (func $subscribed (param i32)))
  (import "corelet:app/events@0.2.1" "emit" (func $emit (param i32 i32 i32 i32)))
  (import "corelet:app/log@0.2.1" "write" (func $write (param i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "wit")
  ;; description {name, version, no methods, no parameters of init}
  (data (i32.const 128) "\40\00\00\00\03\00\00\00\40\00\00\00\03\00\00\00")
  (func (export "describe") (result i32) (i32.const 128))
  (func (export "init") (param i32 i32) (result i32) unreachable)
  ;; Answers with its arguments.
  (func (export "call") (param i32 i32 i32 i32) (result i32)
    (i32.store (i32.const 20) (local.get 2))
    (i32.store (i32.const 24) (local.get 3))
    (i32.const 16))
  ;; Answers with the handler's name, and so does not belong to the world of all applications.
  (func (export "handle") (param i32 i32 i32 i32) (result i32)
    (i32.store (i32.const 20) (local.get 0))
    (i32.store (i32.const 24) (local.get 1))
    (i32.const 16))
  (global $free (mut i32) (i32.const 1024))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (global.set $free (i32.add (global.get $free) (local.get 3)))
    (i32.sub (global.get $free) (local.get 3))))
"#;

#[test]
fn a_component_made_from_the_wit_file_is_an_application() {
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/wit");
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(&wit).unwrap();
    let world = resolve
        .select_world(&[package], Some("application"))
        .unwrap();

    // Nothing in the world is missing in the module above.
    let functions = resolve.worlds[world]
        .imports
        .values()
        .filter_map(|item| match item {
            wit_parser::WorldItem::Interface { id, .. } => Some(&resolve.interfaces[*id]),
            _ => None,
        })
        .flat_map(|interface| interface.functions.keys());
    let mut count = 0;
    for function in functions {
        assert!(MODULE.contains(&format!("\"{function}\"")), "{function}");
        count += 1;
    }
    assert_eq!(count, MODULE.matches("(import ").count());

    let host = host();
    for has_handlers in [false, true] {
        let component = component(MODULE, &resolve, package, has_handlers);
        let module = host
            .load(&component)
            .unwrap_or_else(|refused| panic!("{refused}"));
        assert_eq!(module.description().name(), "wit");
        assert_eq!(module.has_handlers(), has_handlers);
        let turn = query("[1]", MapState::default());
        let finished = finish(module.instantiate().unwrap().run(turn));
        assert_eq!(output(&finished), "[1]");

        let mut turn = query("[1]", MapState::default());
        turn.entry = Entry::Handle {
            handler: "17".into(),
        };
        let finished = finish(module.instantiate().unwrap().run(turn));
        match finished.outcome {
            Ok(output) => assert!(has_handlers && output.bytes == b"17"),
            Err(failure) => {
                assert!(!has_handlers && failure.to_string().contains("no handlers"));
                assert!(finished.instance.is_some(), "nothing is wrong with it");
            }
        }
    }
}

/// What was built before the world had timers goes on, though the server's interfaces are of a
/// later version.
#[test]
fn a_component_of_an_earlier_version_of_the_world_runs() {
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/wit/corelet.wit");
    let wit = std::fs::read_to_string(wit).unwrap();
    let before = wit.replace("corelet:app@0.2.1", "corelet:app@0.2.0");
    let before = before.replace("    import timers;\n", "");
    let mut resolve = Resolve::default();
    let package = resolve.push_str("corelet.wit", &before).unwrap();
    let mut module = String::new();
    for line in MODULE.replace("@0.2.1", "@0.2.0").lines() {
        if !line.contains("timers") && !line.contains("(func $arm ") {
            module.push_str(line);
            module.push('\n');
        }
    }
    let component = component(&module, &resolve, package, false);
    let printed = String::from_utf8_lossy(&component);
    assert!(printed.contains("corelet:app/storage@0.2.0") && !printed.contains("@0.2.1"));
    let module = host()
        .load(&component)
        .unwrap_or_else(|refused| panic!("{refused}"));
    let turn = query("[1]", MapState::default());
    let finished = finish(module.instantiate().unwrap().run(turn));
    assert_eq!(output(&finished), "[1]");
}

/// Each hook is an export by itself, and what is told is what the guest gets.
#[test]
fn a_component_exports_the_hooks_that_it_has() {
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/wit");
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(&wit).unwrap();
    // Says no, with the number that it is told as its one digit.
    const HOOKS: &str = r#"
      (func (export "schema-version") (result i64) (i64.const 7))
      (func (export "migrate") (param i64) (result i32)
        (i32.store (i32.const 32) (i32.const 1))
        (i32.store (i32.const 36) (i32.const 48))
        (i32.store (i32.const 40) (i32.const 1))
        (i64.store8 (i32.const 48) (i64.add (local.get 0) (i64.const 0x30)))
        (i32.const 32))
      (global $free"#;
    let text = MODULE.replace("(global $free", HOOKS);
    let worlds = ["application", "with-schema-version", "with-migrate"];
    let component = component_of(&text, &resolve, package, &worlds);
    let module = host()
        .load(&component)
        .unwrap_or_else(|refused| panic!("{refused}"));
    assert_eq!(module.description().schema_version(), 7);
    assert!(
        module
            .description()
            .to_json()
            .contains(r#""schema_version":7"#)
    );
    let migrate = Hook::Migrate { from: 4 };
    assert!(module.has_hook(migrate));
    assert!(!module.has_hook(Hook::BeforeUpgrade) && !module.has_hook(Hook::AfterUpgrade));
    let tell = |hook| {
        let mut turn = query("{}", MapState::default());
        turn.entry = Entry::Hook(hook);
        finish(module.instantiate().unwrap().run(turn))
    };
    match tell(migrate).outcome {
        Err(Failure::Application { error }) => assert_eq!(error, b"4"),
        other => panic!("{other:?}"),
    }
    let finished = tell(Hook::AfterUpgrade);
    let failure = finished.outcome.unwrap_err().to_string();
    assert!(failure.contains("`after-upgrade`"), "{failure}");
    assert!(finished.instance.is_some(), "nothing is wrong with it");
}

fn component(module: &str, resolve: &Resolve, package: PackageId, has_handlers: bool) -> Vec<u8> {
    let world = match has_handlers {
        false => "application",
        true => "application-with-handlers",
    };
    component_of(module, resolve, package, &[world])
}

fn component_of(module: &str, resolve: &Resolve, package: PackageId, worlds: &[&str]) -> Vec<u8> {
    let mut module = wat::parse_str(module).unwrap();
    for world in worlds {
        let world = resolve.select_world(&[package], Some(world)).unwrap();
        embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8, false).unwrap();
    }
    ComponentEncoder::default()
        .module(&module)
        .and_then(|encoder| encoder.validate(true).encode())
        .unwrap()
}
