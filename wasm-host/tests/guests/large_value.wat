;; Writes a value of 1 MiB and a byte.
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (drop (memory.grow (i32.const 32)))
  (call $set (i32.const 276) (i32.const 1) (i32.const 65536) (i32.const 1048577))
  (call $ok-null))
