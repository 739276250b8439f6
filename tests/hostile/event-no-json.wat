;; tries: to tell an event whose payload is not JSON.
;; update: invalid_output
;; says: an event's payload is not JSON
(func $call (param i32 i32 i32 i32) (result i32)
  (call $emit (i32.const 276) (i32.const 1) (i32.const 256) (i32.const 5)) (call $ok-null))
