;; tries: to send a call with longer arguments than one may have.
;; update: limit_exceeded limits.send_bytes_max
;; memory: 2
(func $call (param i32 i32 i32 i32) (result i32)
  (call $send (i32.const 512) (i32.const 32) (i32.const 266) (i32.const 3) (i32.const 544) (i32.const 65534)
    (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 416)) (call $ok-null))
