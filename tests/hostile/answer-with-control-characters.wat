;; tries: to answer with a line break inside a string.
;; update: invalid_output
;; says: its answer is not JSON
(data (i32.const 600) "\22a\0ab\22")
(func $call (param i32 i32 i32 i32) (result i32)
  (call $ok (i32.const 600) (i32.const 5)))
