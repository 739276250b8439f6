;; tries: to crash with an error in its log, which its caller is told.
;; update: trapped
;; says: "said":"guest"
;; logs: 1
(func $call (param i32 i32 i32 i32) (result i32)
  (call $write (i32.const 0) (i32.const 256) (i32.const 5)) unreachable)
