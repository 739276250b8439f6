;; tries: to divide the least number by -1, which no number is.
;; update: trapped
;; says: integer overflow
(func $call (param i32 i32 i32 i32) (result i32) (local $n i64)
  (local.set $n (i64.const -1))
  (drop (i64.div_s (i64.const -9223372036854775808) (local.get $n))) (call $ok-null))
