;; tries: to remove everything in a query.
;; query: wrote_in_query
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call $remove-range (i32.const 0) (i32.const 276) (i32.const 0) (i32.const 1000))) (call $ok-null))
