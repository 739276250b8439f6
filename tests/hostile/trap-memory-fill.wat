;; tries: to fill memory up to behind its end.
;; update: trapped
;; says: out of bounds memory access
(func $call (param i32 i32 i32 i32) (result i32)
  (memory.fill (i32.const 65535) (i32.const 1) (i32.const 2)) (call $ok-null))
