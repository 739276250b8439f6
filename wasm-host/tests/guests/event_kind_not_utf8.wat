;; Emits an event whose kind is no text.
(data (i32.const 512) "\ff\fe")
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (call $emit (i32.const 512) (i32.const 2) (i32.const 272) (i32.const 4))
  (call $ok-null))
