;; tries: to append a byte more to a text than it may at once.
;; update: limit_exceeded limits.value_bytes_max
;; memory: 18
(func $call (param i32 i32 i32 i32) (result i32)
  (call $text-append (i32.const 0) (i32.const 276) (i32.const 1) (i32.const 65536) (i32.const 1048577)) (call $ok-null))
