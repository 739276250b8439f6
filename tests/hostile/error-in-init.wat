;; tries: to refuse the making of its context, when it has written its first state.
;; init: application_error
(func $init (param i32 i32) (result i32) (call $err (i32.const 277) (i32.const 6)))
