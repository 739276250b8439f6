;; tries: to write under a key of nearly 4 GiB.
;; update: invalid_output
;; says: out of bounds
(func $call (param i32 i32 i32 i32) (result i32)
  (call $set (i32.const 0) (i32.const -1) (i32.const 272) (i32.const 4)) (call $ok-null))
