;; tries: to log at a level that there is not.
;; update: invalid_output
;; says: discriminant
(func $call (param i32 i32 i32 i32) (result i32)
  (call $write (i32.const 4) (i32.const 256) (i32.const 5)) (call $ok-null))
