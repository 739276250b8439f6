;; tries: to have its callback's arguments say what it wants, by data that are no JSON.
;; update: invalid_output
(data (i32.const 544) "{}1},\"outcome\":{\"ok\":1")
(func $call (param i32 i32 i32 i32) (result i32)
  (call $send (i32.const 512) (i32.const 32) (i32.const 266) (i32.const 3) (i32.const 544) (i32.const 2)
    (i32.const 1) (i32.const 266) (i32.const 3) (i32.const 546) (i32.const 20) (i32.const 416))
  (call $ok-null))
