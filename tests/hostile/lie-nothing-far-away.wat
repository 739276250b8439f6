;; tries: to write a value of no length that lies at the very end of what addresses can say.
;; update: invalid_output
;; says: out of bounds
(func $call (param i32 i32 i32 i32) (result i32)
  (call $set (i32.const 276) (i32.const 1) (i32.const -1) (i32.const 0)) (call $ok-null))
