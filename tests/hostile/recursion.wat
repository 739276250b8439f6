;; tries: to call itself for ever.
;; update: stack_overflow limits.stack_bytes_max
(func $deep (param $n i32) (result i32)
  (i32.add (i32.const 1) (call $deep (i32.add (local.get $n) (i32.const 1)))))
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call $deep (i32.const 0))) (call $ok-null))
