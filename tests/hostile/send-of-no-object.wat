;; tries: to send a call whose arguments are JSON and no object.
;; update: invalid_output
(func $call (param i32 i32 i32 i32) (result i32)
  (call $send (i32.const 512) (i32.const 32) (i32.const 266) (i32.const 3) (i32.const 272) (i32.const 4)
    (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 416)) (call $ok-null))
