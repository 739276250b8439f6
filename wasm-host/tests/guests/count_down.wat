;; A million times round, then an answer: a turn of several slices.
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (local $n i32)
  (local.set $n (i32.const 1000000))
  (loop $again
    (local.set $n (i32.sub (local.get $n) (i32.const 1)))
    (br_if $again (local.get $n)))
  (call $ok-null))
