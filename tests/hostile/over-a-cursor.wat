;; tries: to go on with a scan from a key that no node can have written.
;; update: limit_exceeded limits.key_bytes_max
(func $call (param i32 i32 i32 i32) (result i32)
  (call $scan (i32.const 276) (i32.const 0) (i32.const 1) (i32.const 1024) (i32.const 504) (i32.const 10) (i32.const 0) (i32.const 512))  (call $ok-null))
