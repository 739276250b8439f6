//! Test guests: small WAT files in `tests/guests/`, put into the frame that
//! makes them components of our world.

use std::path::Path;

const REALLOC: &str = r#"
    ;; Bumps a pointer; grows the memory when it must.
    (func (export "realloc") (param $old i32) (param $old-len i32) (param $align i32)
        (param $len i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and
        (i32.add (global.get $free) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
      (global.set $free (i32.add (local.get $at) (local.get $len)))
      (loop $enough
        (if (i32.gt_u (global.get $free) (i32.mul (memory.size) (i32.const 65536))) (then
          (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
          (br $enough))))
      (local.get $at))
"#;
/// What a guest may export beside the frame, and what these take.
const HOOKS: [(&str, &str); 3] = [
    (
        "inspect",
        "(param \"method\" string) (param \"args\" (list u8))",
    ),
    ("stop", ""),
    ("low-memory", ""),
];
const RESET: &str = "(global.set $free (i32.const 8192))";
const DESCRIBE: &str = "(func $describe (result i32) (i32.const 64))";
const INIT: &str = "(func $init (param i32 i32) (result i32) (call $ok-null))";

/// The component made of `tests/guests/<name>.wat`.
pub(crate) fn component(name: &str) -> Vec<u8> {
    assemble(&read(&format!("{name}.wat")))
}

/// The component made of the parts in `text`: everything belongs to the guest
/// module, but what follows a line `;; part: realloc` (the allocator) or
/// `;; part: reset` (what runs when the host has read a result).
pub(crate) fn assemble(text: &str) -> Vec<u8> {
    with_memory(text, "1")
}

/// The component's text.
pub(crate) fn text(text: &str) -> String {
    framed(text, "1")
}

/// The same, with another size of memory.
pub(crate) fn with_memory(text: &str, memory: &str) -> Vec<u8> {
    wat::parse_str(framed(text, memory)).unwrap_or_else(|error| panic!("{error}"))
}

fn framed(text: &str, memory: &str) -> String {
    let mut guest = String::new();
    let mut realloc = String::new();
    let mut reset = String::new();
    let mut part = &mut guest;
    for line in text.lines() {
        match line.trim() {
            ";; part: realloc" => part = &mut realloc,
            ";; part: reset" => part = &mut reset,
            ";; part: guest" => part = &mut guest,
            _ => {
                part.push_str(line);
                part.push('\n');
            }
        }
    }
    let or = |found: bool, default: &'static str| if found { "" } else { default };
    let mut lifted = String::new();
    for (name, parameters) in HOOKS {
        if guest.contains(&format!("(export \"{name}\")")) {
            lifted.push_str(&format!(
                "(func (export \"{name}\") {parameters} (result (result (error (list u8))))
                   (canon lift (core func $guest \"{name}\") (memory $memory) (realloc $realloc)
                     (post-return $reset)))"
            ));
        }
    }
    let frame = read("frame.wat");
    let frame = frame.trim_end().strip_suffix(')').unwrap();
    format!("{frame}{lifted})")
        .replace("{{memory}}", memory)
        .replace(
            "{{realloc}}",
            if realloc.is_empty() {
                REALLOC
            } else {
                &realloc
            },
        )
        .replace("{{reset}}", if reset.is_empty() { RESET } else { &reset })
        .replace("{{describe}}", or(guest.contains("$describe"), DESCRIBE))
        .replace("{{init}}", or(guest.contains("$init"), INIT))
        .replace("{{guest}}", &guest)
}

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/guests")
        .join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
