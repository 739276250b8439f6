;; tries: to write in the owned space under the first half of its author.
;; update: entry_misused
(func $call (param i32 i32 i32 i32) (result i32)
  (call $author (i32.const 512))
  (call $set-in (i32.const 1) (i32.load (i32.const 512)) (i32.const 16) (i32.const 272) (i32.const 4)) (call $ok-null))
