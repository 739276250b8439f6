;; tries: to write a value whose address and length together are small again.
;; update: invalid_output
;; says: out of bounds
(func $call (param i32 i32 i32 i32) (result i32)
  (call $set (i32.const 276) (i32.const 1) (i32.const -16) (i32.const 32)) (call $ok-null))
