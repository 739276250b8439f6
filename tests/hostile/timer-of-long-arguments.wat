;; tries: to arm a timer with longer arguments than it may have.
;; update: limit_exceeded limits.timer_args_bytes_max
;; memory: 2
(func $call (param i32 i32 i32 i32) (result i32)
  (call $arm (i32.const 272) (i32.const 4) (i32.const 272) (i32.const 4) (i32.const 272) (i32.const 65537)
    (i64.const 0) (i32.const 0) (i64.const 0)) (call $ok-null))
