;; Says no, with its arguments as the error, after having written.
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (call $set (i32.const 276) (i32.const 1) (i32.const 272) (i32.const 4))
  (call $emit (i32.const 276) (i32.const 1) (i32.const 272) (i32.const 4))
  (call $err (local.get $args) (local.get $args-len)))
