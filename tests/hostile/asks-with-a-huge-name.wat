;; tries: to ask for a method whose name is longer than a call's arguments may be.
;; query: limit_exceeded limits.args_bytes_max
;; memory: 20
(data (i32.const 544) "{}")
(func $call (param i32 i32 i32 i32) (result i32)
  (call $query (i32.const 512) (i32.const 32) (i32.const 65536) (i32.const 1048575)
    (i32.const 544) (i32.const 2) (i32.const 416))
  (call $ok-null))
