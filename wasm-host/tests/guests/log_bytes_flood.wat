;; Logs 16 KiB at a time, without end.
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (memory.fill (i32.const 16384) (i32.const 49) (i32.const 16384))
  (loop $again
    (call $write (i32.const 2) (i32.const 16384) (i32.const 16384))
    (br $again))
  unreachable)
