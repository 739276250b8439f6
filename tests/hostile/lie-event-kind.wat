;; tries: to tell an event of a kind that is not UTF-8.
;; update: invalid_output
;; says: utf-8
(func $call (param i32 i32 i32 i32) (result i32)
  (i32.store (i32.const 600) (i32.const 0xff)) (call $emit (i32.const 600) (i32.const 1) (i32.const 272) (i32.const 4)) (call $ok-null))
