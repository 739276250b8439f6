;; tries: to count its queries in its own memory, to tell one caller of another.
;; query: answers 1
;; query elsewhere: answers 1
(global $calls (mut i64) (i64.const 0))
(func $call (param i32 i32 i32 i32) (result i32)
  (global.set $calls (i64.add (global.get $calls) (i64.const 1)))
  (call $ok-number (global.get $calls)))
