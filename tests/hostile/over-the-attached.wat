;; tries: to ask for more attached blobs at once than it may.
;; update: limit_exceeded limits.scan_rows_max
(func $call (param i32 i32 i32 i32) (result i32)
  (call $attached (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1001) (i32.const 512)) (call $ok-null))
