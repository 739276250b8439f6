;; tries: to have a value put behind its memory.
;; update: invalid_output
;; says: out of bounds
(func $call (param i32 i32 i32 i32) (result i32)
  (call $set (i32.const 276) (i32.const 1) (i32.const 272) (i32.const 4)) (call $get (i32.const 276) (i32.const 1) (i32.const 65532)) (call $ok-null))
