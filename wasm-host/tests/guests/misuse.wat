;; Writes "k" as a counter, and then as an element of a set.
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (drop (call $add (i32.const 0) (i32.const 276) (i32.const 1) (i64.const 1)))
  (drop (call $insert (i32.const 0) (i32.const 276) (i32.const 1)))
  (call $ok-null))
