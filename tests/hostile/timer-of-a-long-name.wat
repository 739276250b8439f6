;; tries: to arm a timer whose name is longer than it may be.
;; update: limit_exceeded limits.timer_name_bytes_max
(func $call (param i32 i32 i32 i32) (result i32)
  (call $arm (i32.const 272) (i32.const 129) (i32.const 272) (i32.const 4) (i32.const 272) (i32.const 4)
    (i64.const 0) (i32.const 0) (i64.const 0)) (call $ok-null))
