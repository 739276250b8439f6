;; tries: to remove more entries at once than it may.
;; update: limit_exceeded limits.scan_rows_max
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call $remove-range (i32.const 0) (i32.const 276) (i32.const 0) (i32.const 1001))) (call $ok-null))
