;; tries: to say neither that there is a cursor nor that there is none.
;; update: invalid_output
;; says: discriminant
(func $call (param i32 i32 i32 i32) (result i32)
  (call $scan (i32.const 276) (i32.const 0) (i32.const 2) (i32.const 276) (i32.const 1) (i32.const 10) (i32.const 0) (i32.const 512)) (call $ok-null))
