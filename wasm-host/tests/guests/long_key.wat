;; Writes under a key of 481 bytes.
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (call $set (i32.const 8192) (i32.const 481) (i32.const 512) (i32.const 1))
  (call $ok-null))
