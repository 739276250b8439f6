;; tries: to subscribe to events in a query.
;; query: wrote_in_query
(func $call (param i32 i32 i32 i32) (result i32)
  (call $subscribe (i32.const 512) (i32.const 32) (i32.const 266) (i32.const 3)
    (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0) (i32.const 416)) (call $ok-null))
