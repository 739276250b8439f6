;; tries: to have more sent to another context than a call's arguments may be.
;; query: limit_exceeded limits.args_bytes_max
;; memory: 20
(func $call (param i32 i32 i32 i32) (result i32)
  (call $query (i32.const 512) (i32.const 32) (i32.const 266) (i32.const 3)
    (i32.const 65536) (i32.const 1048576) (i32.const 416))
  (call $ok-null))
