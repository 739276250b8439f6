;; tries: to write into a space that there is not.
;; update: invalid_output
;; says: discriminant
(func $call (param i32 i32 i32 i32) (result i32)
  (call $set-in (i32.const 3) (i32.const 276) (i32.const 1) (i32.const 272) (i32.const 4)) (call $ok-null))
