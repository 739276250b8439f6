;; tries: to write one entry after the other without end.
;; update: limit_exceeded limits.writes_max
(func $call (param i32 i32 i32 i32) (result i32)
  (loop $again (i32.store (i32.const 600) (i32.add (i32.load (i32.const 600)) (i32.const 1))) (call $set (i32.const 600) (i32.const 4) (i32.const 272) (i32.const 4)) (br $again)) unreachable)
