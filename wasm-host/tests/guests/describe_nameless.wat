;; Has no name.
(func $describe (result i32)
  (i32.store (i32.const 68) (i32.const 0))
  (i32.const 64))
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (call $ok-null))
