;; tries: to answer with bytes from behind its memory.
;; update: invalid_output
;; says: out of bounds
(func $call (param i32 i32 i32 i32) (result i32)
  (call $ok (i32.const 65536) (i32.const 4)))
