;; tries: to read under a key that no node can have written.
;; update: limit_exceeded limits.key_bytes_max
(func $call (param i32 i32 i32 i32) (result i32)
  (call $get (i32.const 1024) (i32.const 504) (i32.const 512)) (call $ok-null))
