;; tries: to divide by zero.
;; update: trapped
;; says: divide by zero
(func $call (param i32 i32 i32 i32) (result i32) (local $zero i32)
  (drop (i32.div_u (i32.const 1) (local.get $zero))) (call $ok-null))
