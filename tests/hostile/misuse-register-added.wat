;; tries: to count in a register.
;; update: entry_misused
(func $call (param i32 i32 i32 i32) (result i32)
  (call $set (i32.const 276) (i32.const 1) (i32.const 272) (i32.const 4))
  (drop (call $add (i32.const 0) (i32.const 276) (i32.const 1) (i64.const 1))) (call $ok-null))
