;; tries: to write where it may: under its own author, in the owned space.
;; update: answers null
(func $call (param i32 i32 i32 i32) (result i32)
  (call $author (i32.const 512))
  (call $set-in (i32.const 1) (i32.load (i32.const 512)) (i32.const 32) (i32.const 272) (i32.const 4)) (call $ok-null))
