;; tries: to see from the time how long its slices take, and who runs between them.
;; update: answers 0
(func $call (param i32 i32 i32 i32) (result i32) (local $began i64) (local $n i32)
  (local.set $began (call $now))
  (loop $again (br_if $again (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 10000000))))
  (call $ok-number (i64.sub (call $now) (local.get $began))))
