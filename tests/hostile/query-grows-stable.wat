;; tries: to make its stable memory longer in a query.
;; query: wrote_in_query
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call $stable-grow (i64.const 0))) (call $ok-null))
