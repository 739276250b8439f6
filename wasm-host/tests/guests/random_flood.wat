;; Asks for a byte more random than allowed.
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (call $random (i32.const 4097) (i32.const 512))
  (call $ok-null))
