;; tries: to refuse its call with what is not JSON.
;; update: invalid_output
;; says: its error is not JSON
(func $call (param i32 i32 i32 i32) (result i32)
  (call $err (i32.const 256) (i32.const 5)))
