;; tries: to put the mark of byte order before its answer.
;; update: invalid_output
;; says: its answer is not JSON
(data (i32.const 600) "\ef\bb\bfnull")
(func $call (param i32 i32 i32 i32) (result i32)
  (call $ok (i32.const 600) (i32.const 7)))
