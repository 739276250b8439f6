;; tries: to remove from the owned space what another owns.
;; update: entry_misused
(func $call (param i32 i32 i32 i32) (result i32)
  (call $author (i32.const 512))
  (i32.store8 (i32.load (i32.const 512)) (i32.xor (i32.load8_u (i32.load (i32.const 512))) (i32.const 1)))
  (drop (call $remove-in (i32.const 1) (i32.load (i32.const 512)) (i32.const 32))) (call $ok-null))
