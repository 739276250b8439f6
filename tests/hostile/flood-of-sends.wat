;; tries: to send more calls to another context than one call may.
;; update: limit_exceeded limits.sends_max
(data (i32.const 544) "{}")
(func $call (param i32 i32 i32 i32) (result i32)
  (loop $again
    (call $send (i32.const 512) (i32.const 32) (i32.const 266) (i32.const 3) (i32.const 544) (i32.const 2)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 416))
    (br $again))
  unreachable)
