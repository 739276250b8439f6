;; tries: to overwrite what is written once.
;; update: answers 0
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call $write-once (i32.const 0) (i32.const 276) (i32.const 1) (i32.const 272) (i32.const 4)))
  (call $ok-number (i64.extend_i32_u (call $write-once (i32.const 0) (i32.const 276) (i32.const 1) (i32.const 256) (i32.const 5)))))
