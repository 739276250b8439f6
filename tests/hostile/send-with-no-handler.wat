;; tries: to have a handler without a name called back.
;; update: invalid_output
(data (i32.const 544) "{}")
(func $call (param i32 i32 i32 i32) (result i32)
  (call $send (i32.const 512) (i32.const 32) (i32.const 266) (i32.const 3) (i32.const 544) (i32.const 2)
    (i32.const 1) (i32.const 266) (i32.const 0) (i32.const 544) (i32.const 2) (i32.const 416))
  (call $ok-null))
