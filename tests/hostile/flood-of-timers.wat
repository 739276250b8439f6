;; tries: to arm one timer more than its context may have.
;; update: limit_exceeded limits.timers_max
(func $call (param i32 i32 i32 i32) (result i32)
  (local $n i32)
  (loop $again
    (i32.store8 (i32.const 600) (i32.add (i32.const 32) (i32.and (local.get $n) (i32.const 63))))
    (i32.store8 (i32.const 601) (i32.add (i32.const 32) (i32.shr_u (local.get $n) (i32.const 6))))
    (call $arm (i32.const 600) (i32.const 2) (i32.const 272) (i32.const 4) (i32.const 272) (i32.const 4)
      (i64.const 0) (i32.const 0) (i64.const 0))
    (local.set $n (i32.add (local.get $n) (i32.const 1)))
    (br $again))
  unreachable)
