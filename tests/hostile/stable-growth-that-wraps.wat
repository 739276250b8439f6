;; tries: to make its stable memory longer by so much that no number has room for it.
;; update: limit_exceeded limits.stable_bytes_max
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call $stable-grow (i64.const 1)))
  (drop (call $stable-grow (i64.const -1))) (call $ok-null))
