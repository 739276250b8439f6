;; tries: to leave what it has written to its stable memory, by a trap.
;; update: trapped
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call $stable-grow (i64.const 1)))
  (call $stable-write (i64.const 65532) (i32.const 272) (i32.const 4)) unreachable)
