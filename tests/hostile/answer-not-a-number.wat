;; tries: to answer with NaN, as some do.
;; update: invalid_output
;; says: its answer is not JSON
(data (i32.const 600) "NaN")
(func $call (param i32 i32 i32 i32) (result i32)
  (call $ok (i32.const 600) (i32.const 3)))
