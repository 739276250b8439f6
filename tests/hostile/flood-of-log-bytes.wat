;; tries: to log lines of 64 KB without end.
;; update: limit_exceeded limits.log_bytes_max
;; logs: 4
(func $call (param i32 i32 i32 i32) (result i32)
  (loop $again (call $write (i32.const 2) (i32.const 1024) (i32.const 64000)) (br $again)) unreachable)
