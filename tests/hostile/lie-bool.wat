;; tries: to say 77 where there is true and false.
;; update: answers 1
(func $call (param i32 i32 i32 i32) (result i32)
  (call $scan (i32.const 276) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 10) (i32.const 77) (i32.const 512)) (call $ok-number (i64.load32_u (i32.const 516))))
