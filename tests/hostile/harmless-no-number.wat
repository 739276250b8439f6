;; tries: to see the processor by the bits of what is no number.
;; update: answers 9221120237041090560
(func $call (param i32 i32 i32 i32) (result i32) (local $zero f64)
  (call $ok-number (i64.reinterpret_f64 (f64.div (local.get $zero) (f64.neg (local.get $zero))))))
