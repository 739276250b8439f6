;; tries: to make an integer of a number that is too large for it.
;; update: trapped
;; says: integer overflow
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (i64.trunc_f32_u (f32.const 0x1p100))) (call $ok-null))
