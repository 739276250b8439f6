;; tries: to read the entries of all others: it counts what scans of all spaces give.
;; update: answers 2
(func $call (param i32 i32 i32 i32) (result i32) (local $space i32) (local $sum i64)
  (loop $next
    (call $scan-in (local.get $space) (i32.const 276) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const 1000) (i32.const 0) (i32.const 512))
    (local.set $sum (i64.add (local.get $sum) (i64.load32_u (i32.const 516))))
    (local.set $space (i32.add (local.get $space) (i32.const 1)))
    (br_if $next (i32.lt_u (local.get $space) (i32.const 3))))
  (call $ok-number (local.get $sum)))
