;; tries: to tell an event without a kind.
;; update: answers null
(func $call (param i32 i32 i32 i32) (result i32)
  (call $emit (i32.const 276) (i32.const 0) (i32.const 272) (i32.const 4)) (call $ok-null))
