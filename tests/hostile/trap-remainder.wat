;; tries: to take a remainder by zero.
;; update: trapped
;; says: divide by zero
(func $call (param i32 i32 i32 i32) (result i32) (local $zero i64)
  (drop (i64.rem_s (i64.const 1) (local.get $zero))) (call $ok-null))
