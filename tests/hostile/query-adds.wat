;; tries: to count in a query.
;; query: wrote_in_query
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call $add (i32.const 0) (i32.const 276) (i32.const 1) (i64.const 1))) (call $ok-null))
