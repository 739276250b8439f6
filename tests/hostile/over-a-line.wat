;; tries: to log 5 MiB at once, which nobody is to look at.
;; update: limit_exceeded limits.transfer_bytes_max
;; memory: 90
(func $call (param i32 i32 i32 i32) (result i32)
  (call $write (i32.const 0) (i32.const 65536) (i32.const 5242880)) (call $ok-null))
