;; tries: to refuse its call with a message that is half of a character.
;; update: application_error
(data (i32.const 600) "{\22message\22:\22\\ud800\22}")
(func $call (param i32 i32 i32 i32) (result i32)
  (call $err (i32.const 600) (i32.const 20)))
