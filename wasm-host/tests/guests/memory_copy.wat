;; Copies one page over and over.
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (loop $again
    (memory.copy (i32.const 16384) (i32.const 16385) (i32.const 49000))
    (br $again))
  unreachable)
