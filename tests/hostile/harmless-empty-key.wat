;; tries: to write under a key of no length.
;; update: answers null
(func $call (param i32 i32 i32 i32) (result i32)
  (call $set (i32.const 276) (i32.const 0) (i32.const 272) (i32.const 4)) (call $ok-null))
