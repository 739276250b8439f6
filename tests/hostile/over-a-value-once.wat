;; tries: to write once what is a byte longer than it may be.
;; update: limit_exceeded limits.value_bytes_max
;; memory: 18
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call $write-once (i32.const 0) (i32.const 276) (i32.const 1) (i32.const 65536) (i32.const 1048577))) (call $ok-null))
