//! Our Rust types of the world and `sdk/wit/corelet.wit` are the same thing: a
//! component that the WIT tools make from that file is loaded and runs.

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::state::MapState;
use crate::{finish, host, output, query};

/// A core module as guest toolchains emit it: every function of the world,
/// imported and exported by its name there. (Types are the WIT file's to
/// check: an import that is missing there, or has another type, does not make
/// a component.)
const MODULE: &str = r#"
(module
  (import "corelet:app/context@0.2.0" "id" (func $id (param i32)))
  (import "corelet:app/context@0.2.0" "caller" (func $caller (param i32)))
  (import "corelet:app/context@0.2.0" "author" (func $author (param i32)))
  (import "corelet:app/context@0.2.0" "now" (func $now (result i64)))
  (import "corelet:app/context@0.2.0" "random" (func $random (param i32 i32)))
  (import "corelet:app/context@0.2.0" "state-version" (func $state-version (result i64)))
  (import "corelet:app/context@0.2.0" "fuel-used" (func $fuel-used (result i64)))
  (import "corelet:app/storage@0.2.0" "get" (func $get (param i32 i32 i32 i32)))
  (import "corelet:app/storage@0.2.0" "set" (func $set (param i32 i32 i32 i32 i32)))
  (import "corelet:app/storage@0.2.0" "add" (func $add (param i32 i32 i32 i64) (result i64)))
  (import "corelet:app/storage@0.2.0" "insert" (func $insert (param i32 i32 i32) (result i32)))
  (import "corelet:app/storage@0.2.0" "write-once"
    (func $write-once (param i32 i32 i32 i32 i32) (result i32)))
  (import "corelet:app/storage@0.2.0" "remove" (func $remove (param i32 i32 i32) (result i32)))
  (import "corelet:app/storage@0.2.0" "remove-range"
    (func $remove-range (param i32 i32 i32 i32) (result i32)))
  (import "corelet:app/storage@0.2.0" "scan"
    (func $scan (param i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "corelet:app/storage@0.2.0" "count" (func $count (param i32 i32 i32) (result i64)))
  (import "corelet:app/storage@0.2.0" "list-length"
    (func $list-length (param i32 i32 i32) (result i64)))
  (import "corelet:app/storage@0.2.0" "list-insert"
    (func $list-insert (param i32 i32 i32 i64 i32 i32 i32)))
  (import "corelet:app/storage@0.2.0" "list-append"
    (func $list-append (param i32 i32 i32 i32 i32)))
  (import "corelet:app/storage@0.2.0" "list-remove"
    (func $list-remove (param i32 i32 i32 i64 i64 i32)))
  (import "corelet:app/storage@0.2.0" "list-read"
    (func $list-read (param i32 i32 i32 i64 i32 i32)))
  (import "corelet:app/storage@0.2.0" "text-length"
    (func $text-length (param i32 i32 i32) (result i64)))
  (import "corelet:app/storage@0.2.0" "text-insert"
    (func $text-insert (param i32 i32 i32 i64 i32 i32 i32)))
  (import "corelet:app/storage@0.2.0" "text-append"
    (func $text-append (param i32 i32 i32 i32 i32)))
  (import "corelet:app/storage@0.2.0" "text-remove"
    (func $text-remove (param i32 i32 i32 i64 i64 i32)))
  (import "corelet:app/storage@0.2.0" "text-read"
    (func $text-read (param i32 i32 i32 i64 i64 i32)))
  (import "corelet:app/blobs@0.2.0" "attach" (func $attach (param i32 i32 i32)))
  (import "corelet:app/blobs@0.2.0" "detach" (func $detach (param i32 i32) (result i32)))
  (import "corelet:app/blobs@0.2.0" "size" (func $size (param i32 i32 i32)))
  (import "corelet:app/blobs@0.2.0" "attached"
    (func $attached (param i32 i32 i32 i32 i32)))
  (import "corelet:app/events@0.2.0" "emit" (func $emit (param i32 i32 i32 i32)))
  (import "corelet:app/log@0.2.0" "write" (func $write (param i32 i32 i32)))
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

    let mut module = wat::parse_str(MODULE).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).unwrap();
    let component = ComponentEncoder::default()
        .module(&module)
        .and_then(|encoder| encoder.validate(true).encode())
        .unwrap();

    let host = host();
    let module = host
        .load(&component)
        .unwrap_or_else(|refused| panic!("{refused}"));
    assert_eq!(module.description().name(), "wit");
    let turn = query("[1]", MapState::default());
    let finished = finish(module.instantiate().unwrap().run(turn));
    assert_eq!(output(&finished), "[1]");
}
