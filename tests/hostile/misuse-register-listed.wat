;; tries: to append to a register as if it were a text.
;; update: entry_misused
(func $call (param i32 i32 i32 i32) (result i32)
  (call $set (i32.const 276) (i32.const 1) (i32.const 272) (i32.const 4))
  (call $text-append (i32.const 0) (i32.const 276) (i32.const 1) (i32.const 272) (i32.const 4)) (call $ok-null))
