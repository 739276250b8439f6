;; tries: to answer with nearly 4 GiB.
;; update: invalid_output
;; says: out of bounds
(func $call (param i32 i32 i32 i32) (result i32)
  (call $ok (i32.const 0) (i32.const -1)))
