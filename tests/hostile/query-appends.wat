;; tries: to append to a text in a query.
;; query: wrote_in_query
(func $call (param i32 i32 i32 i32) (result i32)
  (call $text-append (i32.const 0) (i32.const 276) (i32.const 1) (i32.const 272) (i32.const 4)) (call $ok-null))
