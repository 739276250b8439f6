;; tries: to ask for no entries at all, and for no random bytes.
;; update: answers 0
(func $call (param i32 i32 i32 i32) (result i32)
  (call $random (i32.const 0) (i32.const 512))
  (call $scan (i32.const 276) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 512)) (call $ok-number (i64.load32_u (i32.const 516))))
