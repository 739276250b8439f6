;; Reads its fuel, works for some slices, reads it again, and answers with the sum of both.
(func $call (param i32 i32 i32 i32) (result i32) (local $rounds i32) (local $before i64)
  (local.set $before (call $fuel-used))
  (local.set $rounds (i32.const 500000))
  (loop $again
    (local.set $rounds (i32.sub (local.get $rounds) (i32.const 1)))
    (br_if $again (local.get $rounds)))
  (call $ok-number (i64.add (local.get $before) (call $fuel-used))))
