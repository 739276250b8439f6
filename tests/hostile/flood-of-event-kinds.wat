;; tries: to tell events whose kind is longer than it may be.
;; update: limit_exceeded limits.event_kind_bytes_max
(func $call (param i32 i32 i32 i32) (result i32)
  (loop $again (call $emit (i32.const 1024) (i32.const 129) (i32.const 272) (i32.const 4)) (br $again)) unreachable)
