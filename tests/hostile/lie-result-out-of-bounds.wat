;; tries: to answer from behind its memory.
;; update: invalid_output
;; says: out of bounds
(func $call (param i32 i32 i32 i32) (result i32)
  (i32.const -16))
