;; tries: to subscribe a handler with a name that is too long together with the kind of its events.
;; update: limit_exceeded limits.subscription_bytes_max
(func $call (param i32 i32 i32 i32) (result i32)
  (call $subscribe (i32.const 512) (i32.const 32) (i32.const 1024) (i32.const 200)
    (i32.const 1) (i32.const 1024) (i32.const 57) (i32.const 0) (i64.const 0) (i32.const 416)) (call $ok-null))
