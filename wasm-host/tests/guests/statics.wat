;; Counts its calls in a global: a static that lives as long as the instance.
(global $calls (mut i64) (i64.const 0))
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (global.set $calls (i64.add (global.get $calls) (i64.const 1)))
  (call $ok-number (global.get $calls)))
