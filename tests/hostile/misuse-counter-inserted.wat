;; tries: to use a counter as an element of a set.
;; update: entry_misused
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call $add (i32.const 0) (i32.const 276) (i32.const 1) (i64.const 1)))
  (drop (call $insert (i32.const 0) (i32.const 276) (i32.const 1))) (call $ok-null))
