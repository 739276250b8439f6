;; Emits events of 16 KiB without end: a number with very many digits.
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (memory.fill (i32.const 16384) (i32.const 49) (i32.const 16384))
  (loop $again
    (call $emit (i32.const 276) (i32.const 1) (i32.const 16384) (i32.const 16384))
    (br $again))
  unreachable)
