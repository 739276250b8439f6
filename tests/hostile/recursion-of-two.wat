;; tries: to call itself for ever through another function.
;; update: stack_overflow limits.stack_bytes_max
(func $one (result i32) (i32.add (i32.const 1) (call $two)))
(func $two (result i32) (i32.add (i32.const 1) (call $one)))
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call $one)) (call $ok-null))
