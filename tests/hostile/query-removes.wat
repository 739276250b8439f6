;; tries: to remove in a query what is not even there.
;; query: wrote_in_query
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call $remove (i32.const 276) (i32.const 1))) (call $ok-null))
