;; tries: to draw more random bytes at once than it may.
;; update: limit_exceeded limits.random_bytes_max
(func $call (param i32 i32 i32 i32) (result i32)
  (call $random (i32.const 4097) (i32.const 512)) (call $ok-null))
