;; tries: to append to a text of another.
;; update: entry_misused
(func $call (param i32 i32 i32 i32) (result i32)
  (call $author (i32.const 512))
  (i32.store8 (i32.load (i32.const 512)) (i32.xor (i32.load8_u (i32.load (i32.const 512))) (i32.const 1)))
  (call $text-append (i32.const 1) (i32.load (i32.const 512)) (i32.const 32) (i32.const 272) (i32.const 4)) (call $ok-null))
