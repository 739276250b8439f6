;; Calls the host a hundred thousand times, with little else to do: host calls must
;; end slices as well.
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (local $n i32)
  (local.set $n (i32.const 100000))
  (loop $again
    (drop (call $now))
    (local.set $n (i32.sub (local.get $n) (i32.const 1)))
    (br_if $again (local.get $n)))
  (call $ok-null))
