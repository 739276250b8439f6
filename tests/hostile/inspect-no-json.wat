;; tries: to refuse an update with what is no JSON.
;; update: invalid_output
(func (export "inspect") (param i32 i32 i32 i32) (result i32)
  (call $err (i32.const 256) (i32.const 5)))
