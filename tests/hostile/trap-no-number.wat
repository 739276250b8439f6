;; tries: to make an integer of what is no number.
;; update: trapped
;; says: invalid conversion to integer
(func $call (param i32 i32 i32 i32) (result i32) (local $zero f64)
  (drop (i32.trunc_f64_s (f64.div (local.get $zero) (local.get $zero)))) (call $ok-null))
