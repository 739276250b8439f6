;; tries: to end a subscription in a query.
;; query: wrote_in_query
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call $unsubscribe (i32.const 512) (i32.const 32) (i32.const 266) (i32.const 3))) (call $ok-null))
