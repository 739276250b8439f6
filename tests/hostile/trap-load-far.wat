;; tries: to read far behind its memory, where the sum of base and offset has 33 bits.
;; update: trapped
;; says: out of bounds memory access
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (i64.load offset=4294967295 (i32.const -1))) (call $ok-null))
