;; tries: to answer with more than may cross the border at all.
;; memory: 100
;; update: limit_exceeded limits.transfer_bytes_max
(func $call (param i32 i32 i32 i32) (result i32)
  (call $ok (i32.const 65536) (i32.const 4194305)))
