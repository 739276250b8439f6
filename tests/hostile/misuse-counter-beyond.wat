;; tries: to add more to a counter in one call than 64 bits can hold.
;; update: entry_misused
;; says: 64 bits
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call $add (i32.const 0) (i32.const 276) (i32.const 1) (i64.const 9223372036854775807)))
  (call $ok-number (call $add (i32.const 0) (i32.const 276) (i32.const 1) (i64.const 9223372036854775807))))
