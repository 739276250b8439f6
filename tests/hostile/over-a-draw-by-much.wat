;; tries: to draw 4 GiB of random bytes.
;; update: limit_exceeded limits.random_bytes_max
(func $call (param i32 i32 i32 i32) (result i32)
  (call $random (i32.const -1) (i32.const 512)) (call $ok-null))
