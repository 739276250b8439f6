;; Never gets past its start.
(func $forever (loop $forever (br $forever)))
(start $forever)
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (call $ok-null))
