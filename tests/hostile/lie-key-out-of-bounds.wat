;; tries: to write under a key that ends behind its memory.
;; update: invalid_output
;; says: out of bounds
(func $call (param i32 i32 i32 i32) (result i32)
  (call $set (i32.const 65530) (i32.const 10) (i32.const 272) (i32.const 4)) (call $ok-null))
