;; tries: to remove by ranges what it writes, until both together are too much.
;; update: limit_exceeded limits.writes_max
(func $call (param i32 i32 i32 i32) (result i32)
  (loop $next
    (i32.store (i32.const 600) (i32.add (i32.load (i32.const 600)) (i32.const 1)))
    (call $set (i32.const 600) (i32.const 4) (i32.const 272) (i32.const 4))
    (br_if $next (i32.lt_u (i32.load (i32.const 600)) (i32.const 5000))))
  (loop $again (br_if $again (call $remove-range (i32.const 0) (i32.const 276) (i32.const 0) (i32.const 1000))))
  (call $ok-null))
