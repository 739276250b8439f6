;; tries: to go on with a scan from a key behind all that it asks for.
;; update: answers 0
(data (i32.const 600) "\ff\ff")
(func $call (param i32 i32 i32 i32) (result i32)
  (call $scan (i32.const 276) (i32.const 1) (i32.const 1) (i32.const 600) (i32.const 2) (i32.const 10) (i32.const 0) (i32.const 512)) (call $ok-number (i64.load32_u (i32.const 516))))
