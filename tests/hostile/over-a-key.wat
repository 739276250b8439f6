;; tries: to write under a key that is a byte longer than it may be.
;; update: limit_exceeded limits.key_bytes_max
(func $call (param i32 i32 i32 i32) (result i32)
  (call $set (i32.const 1024) (i32.const 481) (i32.const 272) (i32.const 4)) (call $ok-null))
