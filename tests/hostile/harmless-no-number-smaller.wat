;; tries: to see the processor by the bits of what is no number when it becomes larger.
;; update: answers 9221120237041090560
(func $call (param i32 i32 i32 i32) (result i32)
  (call $ok-number (i64.reinterpret_f64 (f64.promote_f32 (f32.reinterpret_i32 (i32.const 0xffa00001))))))
