;; Writes, emits, and then runs into a trap.
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (call $set (i32.const 276) (i32.const 1) (i32.const 272) (i32.const 4))
  (call $emit (i32.const 276) (i32.const 1) (i32.const 272) (i32.const 4))
  unreachable)
