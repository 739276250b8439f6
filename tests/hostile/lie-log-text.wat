;; tries: to log what is not UTF-8.
;; update: invalid_output
;; says: utf-8
(func $call (param i32 i32 i32 i32) (result i32)
  (i32.store (i32.const 600) (i32.const 0x80)) (call $write (i32.const 2) (i32.const 600) (i32.const 1)) (call $ok-null))
