;; Answers with the fuel it has used.
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (call $ok-number (call $fuel-used)))
