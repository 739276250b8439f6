;; tries: to write values of a quarter of a MiB without end.
;; update: limit_exceeded limits.write_bytes_max
;; memory: 6
(func $call (param i32 i32 i32 i32) (result i32)
  (loop $again (call $set (i32.const 276) (i32.const 1) (i32.const 65536) (i32.const 262144)) (br $again)) unreachable)
