;; tries: to see the processor by the bits of what is no number in a vector, with a payload.
;; update: answers 9221120237041090560
(func $call (param i32 i32 i32 i32) (result i32)
  (call $ok-number (i64x2.extract_lane 1 (f64x2.add
    (v128.const i64x2 -1 0x7ff4000000000001) (v128.const i64x2 0 -1)))))
