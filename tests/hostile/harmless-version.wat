;; tries: to see from the state's version what others write while it runs.
;; update: answers 0
(func $call (param i32 i32 i32 i32) (result i32) (local $began i64) (local $n i32)
  (local.set $began (call $state-version))
  (loop $again (br_if $again (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 10000000))))
  (call $set (i32.const 276) (i32.const 1) (i32.const 272) (i32.const 4))
  (call $ok-number (i64.sub (call $state-version) (local.get $began))))
