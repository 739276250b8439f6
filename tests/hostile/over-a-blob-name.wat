;; tries: to attach a blob by a name of 50 KB.
;; update: limit_exceeded limits.key_bytes_max
(func $call (param i32 i32 i32 i32) (result i32)
  (call $attach (i32.const 1024) (i32.const 50000) (i32.const 512)) (call $ok-null))
