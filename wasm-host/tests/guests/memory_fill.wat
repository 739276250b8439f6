;; Fills one page over and over: few instructions, much work.
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (loop $again
    (memory.fill (i32.const 16384) (i32.const 7) (i32.const 49152))
    (br $again))
  unreachable)
