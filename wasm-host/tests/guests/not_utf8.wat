;; Answers a JSON string with a byte that is no character.
(data (i32.const 512) "\22\ff\22")
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (call $ok (i32.const 512) (i32.const 3)))
