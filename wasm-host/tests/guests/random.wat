;; Answers with a number made of eight random bytes, drawn in two parts.
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (local $n i64)
  (call $random (i32.const 4) (i32.const 512))
  (local.set $n (i64.load32_u (i32.load (i32.const 512))))
  (call $random (i32.const 4) (i32.const 512))
  (call $ok-number (i64.or
    (i64.shl (local.get $n) (i64.const 32))
    (i64.load32_u (i32.load (i32.const 512))))))
