;; tries: to attach a blob in a query.
;; query: wrote_in_query
(func $call (param i32 i32 i32 i32) (result i32)
  (call $attach (i32.const 276) (i32.const 1) (i32.const 512)) (call $ok-null))
