;; tries: to answer with no bytes at all.
;; update: invalid_output
;; says: its answer is not JSON
(data (i32.const 600) "")
(func $call (param i32 i32 i32 i32) (result i32)
  (call $ok (i32.const 600) (i32.const 0)))
