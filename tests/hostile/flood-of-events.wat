;; tries: to tell events without end.
;; update: limit_exceeded limits.events_max
(func $call (param i32 i32 i32 i32) (result i32)
  (loop $again (call $emit (i32.const 276) (i32.const 1) (i32.const 272) (i32.const 4)) (br $again)) unreachable)
