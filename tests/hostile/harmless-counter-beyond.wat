;; tries: to count beyond 64 bits from one call to the next.
;; init: succeeds
;; update: answers 9223372036854775807
;; update: answers 9223372036854775807
(func $init (param i32 i32) (result i32)
  (drop (call $add (i32.const 0) (i32.const 276) (i32.const 1) (i64.const 9223372036854775807))) (call $ok-null))
(func $call (param i32 i32 i32 i32) (result i32)
  (call $ok-number (call $add (i32.const 0) (i32.const 276) (i32.const 1) (i64.const 9223372036854775807))))
