;; tries: to refuse its call with an error that looks like one of the server.
;; update: application_error
(data (i32.const 600) "{\22code\22:-32603,\22name\22:\22internal_error\22,\22a\22:1}")
(func $call (param i32 i32 i32 i32) (result i32)
  (call $err (i32.const 600) (i32.const 45)))
