;; tries: to write to its stable memory in a query.
;; query: wrote_in_query
(func $call (param i32 i32 i32 i32) (result i32)
  (call $stable-write (i64.const 0) (i32.const 272) (i32.const 0)) (call $ok-null))
