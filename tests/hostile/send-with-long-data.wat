;; tries: to have its callback handed more than that may be, together with the call.
;; update: limit_exceeded limits.send_bytes_max
;; memory: 2
(data (i32.const 544) "{}")
(func $call (param i32 i32 i32 i32) (result i32)
  (call $send (i32.const 512) (i32.const 32) (i32.const 266) (i32.const 3) (i32.const 544) (i32.const 2)
    (i32.const 1) (i32.const 266) (i32.const 3) (i32.const 544) (i32.const 65529) (i32.const 416))
  (call $ok-null))
