;; Emits an event that is no JSON.
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (call $emit (i32.const 276) (i32.const 1) (i32.const 256) (i32.const 4))
  (call $ok-null))
