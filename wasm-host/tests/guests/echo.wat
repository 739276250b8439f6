;; Answers with its arguments.
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (call $ok (local.get $args) (local.get $args-len)))
