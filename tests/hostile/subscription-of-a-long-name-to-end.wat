;; tries: to end the subscription of a handler whose name is a megabyte long.
;; update: limit_exceeded limits.subscription_bytes_max
;; memory: 20
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call $unsubscribe (i32.const 512) (i32.const 32) (i32.const 65536) (i32.const 1000000))) (call $ok-null))
