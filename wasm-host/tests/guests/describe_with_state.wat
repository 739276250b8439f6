;; Looks into a context's state while it describes itself.
(func $describe (result i32)
  (call $get (i32.const 276) (i32.const 1) (i32.const 512))
  (i32.const 64))
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (call $ok-null))
