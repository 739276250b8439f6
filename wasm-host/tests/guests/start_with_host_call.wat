;; Asks for the time before there is any call.
(func $early (drop (call $now)))
(start $early)
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (call $ok-null))
