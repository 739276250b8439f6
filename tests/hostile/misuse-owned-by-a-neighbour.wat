;; tries: to write in the owned space under an author who differs in one bit.
;; update: entry_misused
(func $call (param i32 i32 i32 i32) (result i32)
  (call $author (i32.const 512))
  (i32.store8 (i32.load (i32.const 512)) (i32.xor (i32.load8_u (i32.load (i32.const 512))) (i32.const 1)))
  (call $set-in (i32.const 1) (i32.load (i32.const 512)) (i32.const 32) (i32.const 272) (i32.const 4)) (call $ok-null))
