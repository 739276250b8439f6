;; tries: to log without end.
;; update: limit_exceeded limits.logs_max
;; logs: 1000
(func $call (param i32 i32 i32 i32) (result i32)
  (loop $again (call $write (i32.const 2) (i32.const 256) (i32.const 5)) (br $again)) unreachable)
