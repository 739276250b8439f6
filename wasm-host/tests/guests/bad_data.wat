;; Its data lie behind the end of its memory.
(data (i32.const 65530) "too far out")
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (call $ok-null))
