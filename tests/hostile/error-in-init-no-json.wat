;; tries: to refuse the making of its context with what is not JSON.
;; init: invalid_output
;; says: its error is not JSON
(func $init (param i32 i32) (result i32) (call $err (i32.const 256) (i32.const 5)))
