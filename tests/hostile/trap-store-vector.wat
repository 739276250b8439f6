;; tries: to write a vector half of which lies behind the end of its memory.
;; update: trapped
;; says: out of bounds memory access
(func $call (param i32 i32 i32 i32) (result i32)
  (v128.store (i32.const 65528) (v128.const i64x2 1 2)) (call $ok-null))
