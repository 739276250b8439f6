;; tries: to answer neither ok nor error.
;; update: invalid_output
;; says: discriminant
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call $ok-null)) (i32.store8 (i32.const 16) (i32.const 2)) (i32.const 16))
