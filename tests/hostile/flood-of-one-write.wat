;; tries: to write one entry again and again.
;; update: limit_exceeded limits.writes_max
(func $call (param i32 i32 i32 i32) (result i32)
  (loop $again (call $set (i32.const 276) (i32.const 1) (i32.const 272) (i32.const 4)) (br $again)) unreachable)
