;; tries: to arm a timer that is due when nobody is left.
;; update: limit_exceeded limits.timer_ahead_max
(func $call (param i32 i32 i32 i32) (result i32)
  (call $arm (i32.const 272) (i32.const 4) (i32.const 272) (i32.const 4) (i32.const 272) (i32.const 4)
    (i64.const -1) (i32.const 0) (i64.const 0)) (call $ok-null))
