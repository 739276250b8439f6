;; tries: to write in the owned space under a key that is not its author's.
;; update: entry_misused
(func $call (param i32 i32 i32 i32) (result i32)
  (call $set-in (i32.const 1) (i32.const 276) (i32.const 1) (i32.const 272) (i32.const 4)) (call $ok-null))
