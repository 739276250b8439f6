;; tries: to copy memory from where its address and length together have 33 bits.
;; update: trapped
;; says: out of bounds memory access
(func $call (param i32 i32 i32 i32) (result i32)
  (memory.copy (i32.const 0) (i32.const -1) (i32.const 2)) (call $ok-null))
