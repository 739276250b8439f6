;; tries: to subscribe to events of a kind that lies beyond its memory.
;; update: invalid_output
;; says: out of bounds
(func $call (param i32 i32 i32 i32) (result i32)
  (call $subscribe (i32.const 512) (i32.const 32) (i32.const 266) (i32.const 3)
    (i32.const 1) (i32.const 65530) (i32.const 20) (i32.const 0) (i64.const 0) (i32.const 416)) (call $ok-null))
