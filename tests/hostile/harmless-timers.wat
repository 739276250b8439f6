;; tries: to arm two timers for the far future, one of them twice, and to cancel the other twice.
;; update: answers 11
(func $call (param i32 i32 i32 i32) (result i32)
  (local $cancelled i32)
  (call $late (i32.const 272) (i32.const 4))
  (call $late (i32.const 276) (i32.const 1))
  (call $late (i32.const 272) (i32.const 4))
  (local.set $cancelled (call $cancel (i32.const 276) (i32.const 1)))
  (local.set $cancelled
    (i32.add (local.get $cancelled) (call $cancel (i32.const 276) (i32.const 1))))
  (call $armed (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 10) (i32.const 600))
  (call $ok-number (i64.extend_i32_u (i32.add
    (i32.mul (i32.const 10) (i32.load (i32.const 604))) (local.get $cancelled)))))
;; part: guest
(func $late (param i32 i32)
  (call $arm (local.get 0) (local.get 1) (i32.const 272) (i32.const 4) (i32.const 272) (i32.const 4)
    (i64.const 1000000000000000) (i32.const 1) (i64.const 60000000000)))
