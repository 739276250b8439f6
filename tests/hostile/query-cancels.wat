;; tries: to cancel a timer in a query.
;; query: wrote_in_query
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call $cancel (i32.const 272) (i32.const 4))) (call $ok-null))
