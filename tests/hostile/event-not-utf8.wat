;; tries: to tell an event whose payload is not UTF-8.
;; update: invalid_output
;; says: an event's payload is not UTF-8
(func $call (param i32 i32 i32 i32) (result i32)
  (i32.store (i32.const 600) (i32.const 0x22ff22)) (call $emit (i32.const 276) (i32.const 1) (i32.const 600) (i32.const 3)) (call $ok-null))
