;; Says no, with its arguments as the error, before it has done anything.
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (call $err (local.get $args) (local.get $args-len)))
