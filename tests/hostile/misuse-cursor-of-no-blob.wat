;; tries: to list attached blobs from behind what is no blob's name.
;; update: entry_misused
;; says: is not the id of a blob
(data (i32.const 600) "../../token")
(func $call (param i32 i32 i32 i32) (result i32)
  (call $attached (i32.const 1) (i32.const 600) (i32.const 11) (i32.const 1000) (i32.const 512))
  (call $ok-number (i64.load32_u (i32.const 516))))
