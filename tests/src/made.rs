//! Components made to be compiled: two that are small and take the compiler
//! very long, one that is as large as one likes and as harmless as most, and one
//! that cannot be. Each other is an application whose one method answers with
//! its arguments. And the test guests of `wasm-host`, whose one method `run`
//! does what the file says.

use std::fmt::Write;
use std::path::Path;

/// The border of the test guests of `wasm-host`.
const FRAME: &str = include_str!("../../wasm-host/tests/guests/frame.wat");

/// Never gives memory back, and has one page of it.
const REALLOC: &str = r#"(func (export "realloc") (param $old i32) (param i32) (param $align i32)
      (param $bytes i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and
      (i32.add (global.get $free) (i32.sub (local.get $align) (i32.const 1)))
      (i32.sub (i32.const 0) (local.get $align))))
    (global.set $free (i32.add (local.get $at) (local.get $bytes)))
    (local.get $at))"#;
/// What a guest may export beside the frame, what these take and what they give.
const HOOKS: [(&str, &str, &str); 4] = [
    (
        "inspect",
        "(param \"method\" string) (param \"args\" (list u8))",
        NOTHING,
    ),
    ("stop", "", NOTHING),
    ("low-memory", "", NOTHING),
    (
        "handle",
        "(param \"handler\" string) (param \"args\" (list u8))",
        "(result (list u8) (error (list u8)))",
    ),
];
const NOTHING: &str = "(result (error (list u8)))";
const RESET: &str = "(global.set $free (i32.const 8192))";
const DESCRIBE: &str = "(func $describe (result i32) (i32.const 64))";
const INIT: &str = "(func $init (param i32 i32) (result i32) (call $ok-null))";
const CALL: &str = "(func $call (param i32 i32 i32 i32) (result i32)
    (call $ok (local.get 2) (local.get 3)))";

/// One function of so many indirect calls.
pub fn indirect_calls(count: usize) -> Vec<u8> {
    let calls = "(call_indirect (type $plain) (i32.const 0))".repeat(count);
    component(&format!(
        "(type $plain (func)) (table 1 funcref) (func $bomb {calls})"
    ))
}

/// One function of so many loops under so many local variables, all of which
/// have a value before the first loop and are used behind the last: the
/// compiler follows each of them through each loop.
pub fn loops(count: usize, locals: usize) -> Vec<u8> {
    let set: String = (1..=locals)
        .map(|local| format!("(local.set {local} (i32.add (local.get 0) (i32.const {local})))"))
        .collect();
    let use_up: String = (1..=locals)
        .map(|local| format!("(i32.store (local.get 0) (local.get {local}))"))
        .collect();
    let loops = "(loop (br_if 0 (local.get 0)))".repeat(count);
    component(&format!(
        "(func $bomb (param i32) (local {}) {set} {loops} {use_up})",
        "i32 ".repeat(locals)
    ))
}

/// A function that owes a result.
pub fn invalid() -> Vec<u8> {
    component("(func $owes (result i32))")
}

/// So many functions of a few hundred bytes, as compilers of ordinary languages
/// write them: arithmetic, memory, branches, a loop, calls of others.
pub fn ordinary(functions: usize) -> Vec<u8> {
    let mut guest = String::new();
    let mut dice = 0x2545_f491_4f6c_dd1d_u64;
    let mut roll = |sides: u64| {
        dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % sides
    };
    for number in 0..functions {
        let mut body = String::new();
        for _ in 0..12 {
            let (to, from) = (roll(8), roll(8));
            let (constant, offset) = (roll(100_000), roll(1_000) * 4);
            match roll(6) {
                0 => write!(body, "(local.set {to} (i32.add (i32.mul (local.get {from}) (i32.const {constant})) (local.get {to})))"),
                1 => write!(body, "(local.set {to} (i32.load offset={offset} (i32.and (local.get {from}) (i32.const 1023))))"),
                2 => write!(body, "(i32.store offset={offset} (i32.and (local.get {to}) (i32.const 1023)) (local.get {from}))"),
                3 => write!(body, "(if (i32.lt_u (local.get {from}) (i32.const {constant})) (then (local.set {to} (i32.xor (local.get {from}) (i32.shr_u (local.get {to}) (i32.const 3))))) (else (local.set {to} (i32.sub (local.get {to}) (i32.const 1)))))"),
                4 => write!(body, "(block (loop (br_if 1 (i32.eqz (local.get {to}))) (local.set {to} (i32.shr_u (local.get {to}) (i32.const 1))) (br 0)))"),
                _ => write!(body, "(local.set {to} (call $f{} (local.get {from}) (i32.const {constant})))", roll(functions as u64)),
            }
            .expect("a string takes it");
        }
        write!(guest, "(func $f{number} (param i32 i32) (result i32) (local i32 i32 i32 i32 i32 i32) {body} (local.get 0))")
            .expect("a string takes it");
    }
    component(&guest)
}

/// The guest in `wasm-host/tests/guests/NAME.wat`, with `run` as an update.
///
/// # Panics
/// If there is none of that name.
pub fn guest(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../wasm-host/tests/guests")
        .join(format!("{name}.wat"));
    let text = std::fs::read_to_string(&path);
    framed(&text.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// A guest written by hand, as those in `wasm-host/tests/guests/` are.
pub fn framed(text: &str) -> Vec<u8> {
    assembled(&in_frame(text, "1"))
}

/// The same component with `run` as a query. Only its description changes.
///
/// # Panics
/// If it is no test guest.
pub fn with_query(component: &[u8]) -> Vec<u8> {
    // Where "run" lies, how long that is, and 1 for an update.
    let update = b"\x0a\x01\0\0\x03\0\0\0\x01";
    let at = component.windows(9).position(|bytes| bytes == update);
    let mut component = component.to_owned();
    component[at.expect("the method's record") + 8] = 0;
    component
}

fn component(guest: &str) -> Vec<u8> {
    framed(&format!("{CALL} {guest}"))
}

/// The text of a component with so much memory. Everything belongs to the guest, but what
/// follows a line `;; part: realloc` or `;; part: reset`. A hook that it exports is the component's.
pub(crate) fn in_frame(text: &str, memory: &str) -> String {
    let mut parts = [String::new(), String::new(), String::new()];
    let mut part = 0;
    for line in text.lines() {
        match line.trim() {
            ";; part: guest" => part = 0,
            ";; part: realloc" => part = 1,
            ";; part: reset" => part = 2,
            _ => {
                parts[part].push_str(line);
                parts[part].push('\n');
            }
        }
    }
    let [guest, realloc, reset] = &parts;
    let mut lifted = String::new();
    for (name, parameters, result) in HOOKS {
        if guest.contains(&format!("(export \"{name}\")")) {
            write!(
                lifted,
                "(func (export \"{name}\") {parameters} (result {result})
                   (canon lift (core func $guest \"{name}\") (memory $memory) (realloc $realloc)
                     (post-return $reset)))"
            )
            .expect("text");
        }
    }
    let frame = FRAME.trim_end();
    let frame = frame.strip_suffix(')').expect("the component's end");
    let frame = format!("{frame}{lifted})");
    let or = |text: &'static str, found: bool| if found { "" } else { text };
    frame
        .replace("{{memory}}", memory)
        .replace(
            "{{realloc}}",
            &format!("{realloc}{}", or(REALLOC, !realloc.is_empty())),
        )
        .replace(
            "{{reset}}",
            &format!("{reset}{}", or(RESET, !reset.is_empty())),
        )
        .replace("{{describe}}", or(DESCRIBE, guest.contains("$describe")))
        .replace("{{init}}", or(INIT, guest.contains("$init")))
        .replace("{{guest}}", guest)
}

fn assembled(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the text is a component")
}
