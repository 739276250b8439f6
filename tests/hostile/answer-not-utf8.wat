;; tries: to answer with a string that is not UTF-8.
;; update: invalid_output
;; says: its answer is not UTF-8
(data (i32.const 600) "\22\ff\fe\22")
(func $call (param i32 i32 i32 i32) (result i32)
  (call $ok (i32.const 600) (i32.const 4)))
