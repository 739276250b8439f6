;; tries: to write behind the end of its memory.
;; update: trapped
;; says: out of bounds memory access
(func $call (param i32 i32 i32 i32) (result i32)
  (i32.store8 (i32.const 65536) (i32.const 1)) (call $ok-null))
