;; tries: to ask for 4 billion entries.
;; update: limit_exceeded limits.scan_rows_max
(func $call (param i32 i32 i32 i32) (result i32)
  (call $scan (i32.const 276) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const -1) (i32.const 0) (i32.const 512))  (call $ok-null))
