;; tries: to make its stable memory longer than it may be.
;; with: limits.stable_bytes_max = 131_072
;; update: limit_exceeded limits.stable_bytes_max
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call $stable-grow (i64.const 2)))
  (drop (call $stable-grow (i64.const 1))) (call $ok-null))
