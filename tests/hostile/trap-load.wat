;; tries: to read behind the end of its memory.
;; update: trapped
;; says: out of bounds memory access
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (i64.load (i32.const 65529))) (call $ok-null))
