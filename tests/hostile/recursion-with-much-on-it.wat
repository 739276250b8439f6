;; tries: to use up its stack by functions that each keep 2000 numbers on it.
;; update: stack_overflow limits.stack_bytes_max
(func $deep (param $n i64) (result i64)
  (local <<2000 * i64 >>)
  <<2000 * (local.set {n} (i64.mul (local.get $n) (i64.const {n}))) >>
  (local.set $n (call $deep (local.get 1999)))
  <<2000 * (local.set 0 (i64.add (local.get 0) (local.get {n}))) >>
  (local.get 0))
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call $deep (i64.const 3))) (call $ok-null))
