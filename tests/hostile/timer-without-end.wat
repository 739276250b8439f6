;; tries: to arm a timer that runs again at once.
;; update: limit_exceeded limits.timer_runs_per_minute
(func $call (param i32 i32 i32 i32) (result i32)
  (call $arm (i32.const 272) (i32.const 4) (i32.const 272) (i32.const 4) (i32.const 272) (i32.const 4)
    (i64.const 0) (i32.const 1) (i64.const 0)) (call $ok-null))
