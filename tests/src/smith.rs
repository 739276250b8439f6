//! Components of chance: what wasm-smith makes of a seed, by itself and as the inside of an
//! application. Who installs and calls them is `tests/fuzz.rs`.

use arbitrary::Unstructured;
use wasm_smith::{Component, Config, InstructionKinds, Module};

use crate::made;

/// Bytes that a module is made of. Fewer would make small ones.
const BYTES: usize = 6_000;

/// Numbers that follow from a seed (splitmix64).
pub struct Dice(u64);

impl Dice {
    /// The dice of a seed.
    pub fn of(seed: u64) -> Dice {
        Dice(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below this one.
    pub fn below(&mut self, sides: usize) -> usize {
        usize::try_from(self.roll() % sides as u64).expect("it is less than a usize")
    }

    fn bytes(&mut self) -> Vec<u8> {
        let rolls = (0..BYTES / 8).flat_map(|_| self.roll().to_le_bytes());
        rolls.collect()
    }
}

/// An upload of one of several kinds: hardly any is an application, and all look more or
/// less like one.
pub fn upload(seed: u64) -> Vec<u8> {
    let mut dice = Dice::of(seed);
    let bytes = dice.bytes();
    let mut bytes = Unstructured::new(&bytes);
    let made = match seed % 4 {
        0 => Component::new(small(), &mut bytes).map(|component| component.to_bytes()),
        1 => Module::new(small(), &mut bytes).map(|module| module.to_bytes()),
        // With functions that are none, or with all that WebAssembly has, and we do not.
        2 if seed.is_multiple_of(3) => {
            let config = Config {
                allow_invalid_funcs: true,
                ..ours(seed)
            };
            inside(&mut bytes, dice.roll(), config, true)
        }
        2 => inside(&mut bytes, dice.roll(), small(), true),
        _ => application(seed, true).map(|whole| damaged(whole, &mut dice)),
    };
    // Too few bytes make no module, and no bytes are an upload as well.
    made.unwrap_or_default()
}

/// An application whose `run` is of chance: it works on the one memory, which holds its
/// answer, too, and calls the functions of our world, most often with what they take. What
/// comes of that is written. With
/// `facts` it also asks for what differs from one call to the next.
///
/// # Errors
/// If the seed gives none.
pub fn application(seed: u64, facts: bool) -> arbitrary::Result<Vec<u8>> {
    let mut dice = Dice::of(seed);
    let bytes = dice.bytes();
    inside(
        &mut Unstructured::new(&bytes),
        dice.roll(),
        ours(seed),
        facts,
    )
}

/// What the engine has switched on.
fn ours(seed: u64) -> Config {
    Config {
        exceptions_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        // Most make use of foreign ones at once.
        reference_types_enabled: seed % 16 == 1,
        relaxed_simd_enabled: false,
        threads_enabled: false,
        allow_start_export: seed.is_multiple_of(8),
        // Without, most end soon.
        disallow_traps: !seed.is_multiple_of(4),
        ..small()
    }
}

/// Not more of anything than a frame has room for.
fn small() -> Config {
    Config {
        allowed_instructions: InstructionKinds::all(),
        max_instructions: 300,
        max_memories: 1,
        max_memory32_bytes: 1 << 20,
        max_tables: 2,
        max_table_elements: 1_000,
        max_data_segments: 8,
        max_nesting_depth: 3,
        max_components: 3,
        max_modules: 4,
        ..Config::default()
    }
}

/// What the module of chance may call, beside the memory. Places and lengths are cut to what
/// lies inside of the memory, except where the name begins with "raw".
const SHIMS: &str = r#"
  (func $at (param i32) (result i32) (i32.and (local.get 0) (i32.const 0x3fff)))
  (func $long (param i32 i32) (result i32)
    (i32.and (i32.shr_u (local.get 0) (i32.const 14)) (local.get 1)))
  (func (export "put") (param i32 i32)
    (call $set (call $at (local.get 0)) (call $long (local.get 0) (i32.const 3))
      (call $at (local.get 1)) (call $long (local.get 1) (i32.const 0xfff))))
  (func (export "put-private") (param i32 i32)
    (call $set-in (i32.const 2) (call $at (local.get 0)) (call $long (local.get 0) (i32.const 3))
      (call $at (local.get 1)) (call $long (local.get 1) (i32.const 0xfff))))
  (func (export "take") (param i32) (result i32)
    (call $get (call $at (local.get 0)) (call $long (local.get 0) (i32.const 3)) (i32.const 512))
    (i32.load (i32.const 520)))
  (func (export "drop") (param i32) (result i32)
    (call $remove (call $at (local.get 0)) (call $long (local.get 0) (i32.const 3))))
  (func (export "drop-many") (param i32) (result i32)
    (call $remove-range (i32.const 0) (call $at (local.get 0)) (i32.const 0)
      (call $long (local.get 0) (i32.const 7))))
  (func (export "walk") (param i32 i32) (result i32)
    (call $scan (call $at (local.get 0)) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
      (call $long (local.get 0) (i32.const 15)) (i32.and (local.get 1) (i32.const 1)) (i32.const 512))
    (i32.load (i32.const 516)))
  (func (export "walk-all") (result i64) (call $count (i32.const 0) (i32.const 0)))
  (func (export "keep") (param i32 i32)
    (drop (call $stable-grow (i64.extend_i32_u (i64.eqz (call $stable-size)))))
    (call $stable-write (i64.extend_i32_u (call $at (local.get 0)))
      (call $at (local.get 1)) (call $long (local.get 1) (i32.const 0xfff))))
  (func (export "recall") (param i32) (result i32)
    (if (result i32) (i64.eqz (call $stable-size))
      (then (i32.const 0))
      (else
        (call $stable-read (i64.extend_i32_u (call $at (local.get 0)))
          (call $long (local.get 0) (i32.const 0xfff)) (i32.const 512))
        (i32.load (call $at (i32.load (i32.const 512)))))))
  ;; Four letters.
  (func $word (param $at i32) (param $letters i32)
    (i32.store (local.get $at) (i32.or (i32.const 0x41404140)
      (i32.and (local.get $letters) (i32.const 0x0e0f0e0f)))))
  ;; A place in what is so long, or its end.
  (func $within (param $n i32) (param $length i64) (result i64)
    (i64.rem_u (i64.extend_i32_u (local.get $n)) (i64.add (local.get $length) (i64.const 1))))
  ;; How much there is from there on, of one at most.
  (func $some (param $place i64) (param $length i64) (result i64)
    (i64.extend_i32_u (i64.lt_u (local.get $place) (local.get $length))))
  (func $listed (result i64)
    (i32.store (i32.const 532) (i32.const 0x7473696c))
    (call $list-length (i32.const 0) (i32.const 532) (i32.const 4)))
  (func (export "list-put") (param i32 i32) (local $length i64)
    (local.set $length (call $listed))
    (i32.store (i32.const 640) (call $at (local.get 1)))
    (i32.store (i32.const 644) (call $long (local.get 1) (i32.const 0xff)))
    (i64.store (i32.const 648) (i64.load (i32.const 640)))
    (call $list-insert (i32.const 0) (i32.const 532) (i32.const 4)
      (call $within (local.get 0) (local.get $length))
      (i32.const 640) (i32.rem_u (local.get 0) (i32.const 3)) (i32.const 704))
    (call $list-append (i32.const 0) (i32.const 532) (i32.const 4) (i32.const 640) (i32.const 1)))
  (func (export "list-cut") (param i32) (local $length i64) (local $place i64)
    (local.set $length (call $listed))
    (local.set $place (call $within (local.get 0) (local.get $length)))
    (call $list-remove (i32.const 0) (i32.const 532) (i32.const 4) (local.get $place)
      (call $some (local.get $place) (local.get $length)) (i32.const 704)))
  (func (export "list-show") (param i32) (result i32)
    (call $list-read (i32.const 0) (i32.const 532) (i32.const 4)
      (call $within (local.get 0) (call $listed)) (i32.const 15) (i32.const 704))
    (i32.load (i32.const 708)))
  (func $written (result i64)
    (i32.store (i32.const 536) (i32.const 0x74786574))
    (call $text-length (i32.const 0) (i32.const 536) (i32.const 4)))
  (func (export "text-put") (param i32 i32) (local $length i64)
    (local.set $length (call $written))
    (call $word (i32.const 640) (local.get 1))
    (call $text-insert (i32.const 0) (i32.const 536) (i32.const 4)
      (call $within (local.get 0) (local.get $length))
      (i32.const 640) (i32.and (local.get 0) (i32.const 3)) (i32.const 704))
    (call $text-append (i32.const 0) (i32.const 536) (i32.const 4)
      (i32.const 640) (i32.const 4)))
  (func (export "text-cut") (param i32) (local $length i64) (local $place i64)
    (local.set $length (call $written))
    (local.set $place (call $within (local.get 0) (local.get $length)))
    (call $text-remove (i32.const 0) (i32.const 536) (i32.const 4) (local.get $place)
      (call $some (local.get $place) (local.get $length)) (i32.const 704)))
  (func (export "text-show") (param i32) (result i32)
    (call $text-read (i32.const 0) (i32.const 536) (i32.const 4)
      (call $within (local.get 0) (call $written)) (i64.const 15) (i32.const 704))
    (i32.load (i32.const 708)))
  (func (export "attach") (param i32) (result i32)
    (call $word (i32.const 640) (local.get 0))
    (call $attach (i32.const 640) (i32.const 4) (i32.const 704))
    (call $size (i32.const 640) (i32.const 4) (i32.const 720))
    (i32.add (i32.load8_u (i32.const 704)) (i32.load8_u (i32.const 720))))
  (func (export "detach") (param i32) (result i32)
    (call $word (i32.const 640) (local.get 0))
    (call $detach (i32.const 640) (i32.const 4)))
  ;; In an hour at the earliest, when nobody is there any more.
  (func (export "arm") (param i32 i32)
    (call $word (i32.const 640) (local.get 0))
    (i32.store16 (i32.const 644) (i32.const 0x7d7b))
    (call $arm (i32.const 640) (i32.const 4) (i32.const 640) (i32.const 4)
      (i32.const 644) (i32.const 2)
      (i64.add (i64.const 3600000000000) (i64.extend_i32_u (local.get 1)))
      (i32.and (local.get 1) (i32.const 1)) (i64.const 3600000000000)))
  (func (export "disarm") (param i32) (result i32)
    (call $word (i32.const 640) (local.get 0))
    (call $cancel (i32.const 640) (i32.const 4)))
  ;; To nobody, as all others' names are 32 bytes that are hard to guess.
  (func (export "send") (param i32 i32) (result i32)
    (call $word (i32.const 640) (local.get 1))
    (i32.store16 (i32.const 644) (i32.const 0x7d7b))
    (call $send (call $at (local.get 0)) (i32.const 32) (i32.const 640) (i32.const 4)
      (i32.const 644) (i32.const 2) (i32.and (local.get 1) (i32.const 1))
      (i32.const 640) (i32.const 4) (i32.const 644) (i32.const 2) (i32.const 704))
    (i32.load8_u (i32.const 704)))
  (func (export "follow") (param i32 i32) (result i32)
    (call $word (i32.const 640) (local.get 1))
    (call $subscribe (call $at (local.get 0)) (i32.const 32) (i32.const 640) (i32.const 4)
      (i32.and (local.get 1) (i32.const 1)) (i32.const 640) (i32.const 4)
      (i32.and (local.get 0) (i32.const 1)) (i64.const 7) (i32.const 704))
    (i32.load8_u (i32.const 704)))
  (func (export "unfollow") (param i32 i32) (result i32)
    (call $word (i32.const 640) (local.get 1))
    (call $unsubscribe (call $at (local.get 0)) (i32.const 32) (i32.const 640) (i32.const 4)))
  (func (export "tell") (param i32)
    (i32.store (i32.const 528) (i32.const 0x6c6c756e))
    (call $emit (i32.const 528) (call $long (local.get 0) (i32.const 3)) (i32.const 528) (i32.const 4)))
  (func (export "say") (param i32)
    (i32.store (i32.const 528) (i32.const 0x6c6c756e))
    (call $write (i32.and (local.get 0) (i32.const 3)) (i32.const 528) (i32.const 4)))
  (func (export "raw-set") (param i32 i32 i32 i32 i32)
    (call $set-in (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4)))
  (func (export "raw-tell") (param i32 i32 i32 i32)
    (call $emit (local.get 0) (local.get 1) (local.get 2) (local.get 3)))
  (func (export "raw-once") (param i32 i32 i32 i32 i32) (result i32)
    (call $write-once (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4)))
  (func (export "raw-keep") (param i64 i32 i32)
    (call $stable-write (local.get 0) (local.get 1) (local.get 2)))
  (func (export "raw-list") (param i32 i32 i64 i32 i32)
    (call $list-insert (i32.const 0) (local.get 0) (local.get 1) (local.get 2)
      (local.get 3) (local.get 4) (i32.const 704)))
  (func (export "raw-text") (param i32 i32 i32)
    (call $text-append (local.get 0) (i32.const 536) (i32.const 4) (local.get 1) (local.get 2)))
  (func (export "raw-arm") (param i32 i32 i64 i64)
    (call $arm (local.get 0) (local.get 1) (i32.const 640) (i32.const 4)
      (local.get 0) (local.get 1) (local.get 2) (local.get 0) (local.get 3)))
  (func (export "raw-send") (param i32 i32 i32 i32)
    (call $send (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 2) (local.get 3)
      (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 0) (i32.const 704)))
  (func (export "now") (result i64) (call $now))
  (func (export "draw") (param i32) (result i32)
    (call $random (i32.and (local.get 0) (i32.const 63)) (i32.const 512))
    (i32.load (call $at (i32.load (i32.const 512)))))
  (func (export "fuel") (result i64) (call $fuel-used))
  (func (export "answer") (param i32) (result i32)
    (call $ok-number (i64.extend_i32_u (local.get 0))))

  ;; Written anew, as the module of chance may have data of its own there.
  (data $text "guest1.0.0runu64nullk\22text\22")
  (data $description "\00\01\00\00\05\00\00\00\05\01\00\00\05\00\00\00\60\00\00\00\01\00\00\00\00\00\00\00\00\00\00\00\0a\01\00\00\03\00\00\00\01\00\00\00\00\00\00\00\00\00\00\00\0d\01\00\00\03\00\00\00\00\00\00\00\00\00\00\00")
  (func $describe (result i32)
    (memory.init $text (i32.const 256) (i32.const 0) (i32.const 27))
    (memory.init $description (i32.const 64) (i32.const 0) (i32.const 68))
    (i32.const 64))
  (func $call (param i32 i32 i32 i32) (result i32) unreachable)
"#;

/// The module's shape: all that it imports and exports.
fn shape(facts: bool) -> Vec<u8> {
    let facts = match facts {
        true => {
            r#"(import "guest" "now" (func (result i64)))
               (import "guest" "draw" (func (param i32) (result i32)))
               (import "guest" "fuel" (func (result i64)))"#
        }
        false => "",
    };
    let text = format!(
        r#"(module
          (import "heap" "memory" (memory 1))
          (import "guest" "put" (func (param i32 i32)))
          (import "guest" "put-private" (func (param i32 i32)))
          (import "guest" "take" (func (param i32) (result i32)))
          (import "guest" "drop" (func (param i32) (result i32)))
          (import "guest" "drop-many" (func (param i32) (result i32)))
          (import "guest" "walk" (func (param i32 i32) (result i32)))
          (import "guest" "walk-all" (func (result i64)))
          (import "guest" "keep" (func (param i32 i32)))
          (import "guest" "recall" (func (param i32) (result i32)))
          (import "guest" "list-put" (func (param i32 i32)))
          (import "guest" "list-cut" (func (param i32)))
          (import "guest" "list-show" (func (param i32) (result i32)))
          (import "guest" "text-put" (func (param i32 i32)))
          (import "guest" "text-cut" (func (param i32)))
          (import "guest" "text-show" (func (param i32) (result i32)))
          (import "guest" "attach" (func (param i32) (result i32)))
          (import "guest" "detach" (func (param i32) (result i32)))
          (import "guest" "arm" (func (param i32 i32)))
          (import "guest" "disarm" (func (param i32) (result i32)))
          (import "guest" "send" (func (param i32 i32) (result i32)))
          (import "guest" "follow" (func (param i32 i32) (result i32)))
          (import "guest" "unfollow" (func (param i32 i32) (result i32)))
          (import "guest" "tell" (func (param i32)))
          (import "guest" "say" (func (param i32)))
          (import "guest" "raw-set" (func (param i32 i32 i32 i32 i32)))
          (import "guest" "raw-tell" (func (param i32 i32 i32 i32)))
          (import "guest" "raw-once" (func (param i32 i32 i32 i32 i32) (result i32)))
          (import "guest" "raw-keep" (func (param i64 i32 i32)))
          (import "guest" "raw-list" (func (param i32 i32 i64 i32 i32)))
          (import "guest" "raw-text" (func (param i32 i32 i32)))
          (import "guest" "raw-arm" (func (param i32 i32 i64 i64)))
          (import "guest" "raw-send" (func (param i32 i32 i32 i32)))
          {facts}
          (func (export "main") (param i32 i32 i32 i32) (result i32) unreachable))"#
    );
    wat::parse_str(text).expect("the shape is a module")
}

/// The functions that the shell calls by itself, as hardly any module of chance comes to more than a few:
/// how many numbers each takes, and whether it gives one.
const DEEDS: [(&str, usize, bool); 20] = [
    ("put-private", 2, false),
    ("take", 1, true),
    ("drop", 1, true),
    ("drop-many", 1, true),
    ("walk", 2, true),
    ("keep", 2, false),
    ("recall", 1, true),
    ("list-put", 2, false),
    ("list-cut", 1, false),
    ("list-show", 1, true),
    ("text-put", 2, false),
    ("text-cut", 1, false),
    ("text-show", 1, true),
    ("attach", 1, true),
    ("detach", 1, true),
    ("arm", 2, false),
    ("disarm", 1, true),
    ("send", 2, true),
    ("follow", 2, true),
    ("unfollow", 2, true),
];

/// What the shell does four times: some of its deeds, which follow from `salt` and from what came before, and the
/// main function of the module of chance. What that comes to, and what is in memory then, is written.
/// The first module stands for the one of chance until that is put in its place.
fn place(salt: u32) -> String {
    let (mut imports, mut deeds, mut table) = (String::new(), String::new(), String::new());
    for (name, takes, gives) in DEEDS {
        let (parameters, arguments) = match takes {
            1 => ("i32", "(local.get 0)"),
            _ => ("i32 i32", "(local.get 0) (local.get 1)"),
        };
        let (result, otherwise) = match gives {
            true => ("(result i32)", ""),
            false => ("", "(i32.const 0)"),
        };
        imports +=
            &format!(r#"(import "guest" "{name}" (func ${name} (param {parameters}) {result}))"#);
        deeds += &format!(
            "(func $do-{name} (param i32 i32) (result i32) (call ${name} {arguments}) {otherwise})"
        );
        table += &format!(" $do-{name}");
    }
    let count = DEEDS.len();
    format!(
        r#"
  (core module $chance (func (export "main") (param i32 i32 i32 i32) (result i32)
    unreachable) (data "the place of the module of chance") (memory 0))
  (core instance $chance (instantiate $chance
    (with "heap" (instance $heap)) (with "guest" (instance $guest))))
  (core module $shell
    (import "chance" "main" (func $main (param i32 i32 i32 i32) (result i32)))
    (import "guest" "put" (func $put (param i32 i32)))
    (import "guest" "answer" (func $answer (param i32) (result i32)))
    {imports}
    (type $deed (func (param i32 i32) (result i32)))
    (table funcref (elem{table}))
    {deeds}
    (global $dice (mut i32) (i32.const {salt}))
    ;; Steele and Vigna's multiplier.
    (func $roll (result i32)
      (global.set $dice (i32.add (i32.const 0x2545f491)
        (i32.mul (global.get $dice) (i32.const 0x915f77f5))))
      (i32.xor (global.get $dice) (i32.shr_u (global.get $dice) (i32.const 15))))
    (func (export "call") (param i32 i32 i32 i32) (result i32)
      (local $n i32) (local $came i32)
      (global.set $dice (i32.const {salt}))
      (loop $again
        (global.set $dice (i32.xor (global.get $dice) (local.get $came)))
        (call $put (call $roll) (call_indirect (type $deed) (call $roll) (call $roll)
          (i32.rem_u (call $roll) (i32.const {count}))))
        (call $put (call $roll) (call_indirect (type $deed) (call $roll) (call $roll)
          (i32.rem_u (call $roll) (i32.const {count}))))
        (local.set $came (call $main (local.get $came) (local.get $n) (local.get 2) (local.get 3)))
        (call $put (i32.mul (local.get $came) (i32.const 0x9e3779b1)) (i32.shl (local.get $n) (i32.const 14)))
        (br_if $again (i32.lt_u
          (local.tee $n (i32.add (local.get $n) (i32.const 257))) (i32.const 1000))))
      (call $answer (local.get $came))))
  (core instance $shell (instantiate $shell
    (with "chance" (instance $chance)) (with "guest" (instance $guest))))

"#
    )
}

/// A module of chance inside of an application.
fn inside(
    bytes: &mut Unstructured<'_>,
    salt: u64,
    config: Config,
    facts: bool,
) -> arbitrary::Result<Vec<u8>> {
    let config = Config {
        module_shape: Some(shape(facts)),
        // With those that the shape has, which are the most.
        min_funcs: 4,
        max_funcs: 48,
        ..config
    };
    let module = Module::new(config, bytes)?.to_bytes();
    let frame = made::in_frame(SHIMS, "1");
    let types = frame.find("  (type $parameter-shape").expect("the frame");
    let mut frame = frame;
    frame.insert_str(types, &place(salt as u32));
    let lifted = r#"(core func $guest "call")"#;
    assert!(frame.contains(lifted), "the frame is another");
    let frame = frame.replace(lifted, r#"(core func $shell "call")"#);
    let frame = wat::parse_str(frame).expect("the frame is a component");
    Ok(replaced(&frame, &module))
}

/// The component with this module where the place is.
fn replaced(component: &[u8], module: &[u8]) -> Vec<u8> {
    const MODULE: u8 = 1;
    let (head, mut rest) = component.split_at(8);
    let mut whole = head.to_vec();
    while let Some((&id, behind)) = rest.split_first() {
        let (length, behind) = number(behind);
        let (content, behind) = behind.split_at(length);
        let is_place = id == MODULE && content.windows(13).any(|at| at == b"the place of ");
        let content = if is_place { module } else { content };
        whole.push(id);
        put_number(&mut whole, content.len());
        whole.extend_from_slice(content);
        rest = behind;
    }
    whole
}

/// LEB128 and what is behind it.
fn number(bytes: &[u8]) -> (usize, &[u8]) {
    let (mut number, mut at) = (0, 0);
    loop {
        number |= usize::from(bytes[at] & 0x7f) << (7 * at);
        at += 1;
        if bytes[at - 1] < 0x80 {
            return (number, &bytes[at..]);
        }
    }
}

fn put_number(to: &mut Vec<u8>, mut number: usize) {
    loop {
        let byte = (number & 0x7f) as u8;
        number >>= 7;
        to.push(if number == 0 { byte } else { byte | 0x80 });
        if number == 0 {
            return;
        }
    }
}

/// Some of it changed, cut off, or in a place where it was not.
fn damaged(mut bytes: Vec<u8>, dice: &mut Dice) -> Vec<u8> {
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len());
        match dice.below(5) {
            0 => bytes[at] ^= 1 << dice.below(8),
            1 => bytes[at] = dice.roll() as u8,
            2 => bytes.truncate(at.max(9)),
            3 => {
                let end = (at + dice.below(64)).min(bytes.len());
                drop(bytes.drain(at..end));
            }
            _ => {
                let from = dice.below(bytes.len());
                let end = (from + dice.below(64)).min(bytes.len());
                let copy = bytes[from..end].to_vec();
                drop(bytes.splice(at..at, copy));
            }
        }
        if bytes.len() < 9 {
            break;
        }
    }
    bytes
}
