;; tries: to read 4 GiB of its stable memory.
;; update: limit_exceeded limits.scan_bytes_max
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call $stable-grow (i64.const 64)))
  (call $stable-read (i64.const 0) (i32.const -1) (i32.const 512)) (call $ok-null))
