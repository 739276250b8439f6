;; tries: to append a list of a million values of no length.
;; update: limit_exceeded limits.transfer_bytes_max
;; memory: 140
(func $call (param i32 i32 i32 i32) (result i32)
  (call $list-append (i32.const 0) (i32.const 276) (i32.const 1) (i32.const 65536) (i32.const 1000000))  (call $ok-null))
