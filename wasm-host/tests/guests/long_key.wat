;; Reads under a key of 504 bytes.
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (call $get (i32.const 8192) (i32.const 504) (i32.const 512))
  (call $ok-null))
