;; Calls itself forever, and not in a way that could reuse its frame.
(func $deeper (param $n i64) (result i64)
  (i64.add (i64.const 1) (call $deeper (i64.add (local.get $n) (i64.const 1)))))
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (drop (call $deeper (i64.const 0)))
  (call $ok-null))
