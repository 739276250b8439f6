;; Logs at a level that does not exist.
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (call $write (i32.const 7) (i32.const 256) (i32.const 5))
  (call $ok-null))
