;; tries: to log without end when it is asked what it is.
;; install: not_an_application limits.logs_max
(func $describe (result i32)
  (loop $again (call $write (i32.const 0) (i32.const 256) (i32.const 5)) (br $again)) unreachable)
