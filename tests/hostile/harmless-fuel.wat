;; tries: to use its fuel as a clock: two looks with nothing between them cost the same each
;;   time.
;; update: answers 0
(func $call (param i32 i32 i32 i32) (result i32) (local $a i64) (local $b i64) (local $c i64)
  (local.set $a (call $fuel-used)) (local.set $b (call $fuel-used))
  (local.set $c (call $fuel-used))
  (call $ok-number (i64.sub (i64.sub (local.get $c) (local.get $b)) (i64.sub (local.get $b) (local.get $a)))))
