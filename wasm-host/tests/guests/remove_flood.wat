;; Removes without end.
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (loop $again
    (drop (call $remove (i32.const 276) (i32.const 1)))
    (br $again))
  unreachable)
