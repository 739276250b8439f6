;; tries: to attach what is not there, without end.
;; update: limit_exceeded limits.writes_max
(func $call (param i32 i32 i32 i32) (result i32)
  (loop $again (call $attach (i32.const 276) (i32.const 1) (i32.const 512)) (br $again)) unreachable)
