;; tries: to tell events of half a MiB without end.
;; update: limit_exceeded limits.event_bytes_max
;; memory: 10
(func $call (param i32 i32 i32 i32) (result i32)
  (memory.fill (i32.const 65536) (i32.const 49) (i32.const 524288))
  (loop $again (call $emit (i32.const 276) (i32.const 1) (i32.const 65536) (i32.const 524288)) (br $again)) unreachable)
