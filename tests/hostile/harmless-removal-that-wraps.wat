;; tries: to remove elements whose place and number together are small again.
;; update: answers 1
(func $call (param i32 i32 i32 i32) (result i32)
  (call $list-remove (i32.const 0) (i32.const 276) (i32.const 1) (i64.const 2) (i64.const -1) (i32.const 512))
  (call $ok-number (i64.load8_u (i32.const 512))))
