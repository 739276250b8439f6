;; tries: to have its callback fail each time, by data that nest deeper than it could read.
;; update: invalid_output
(data (i32.const 544) "{}")
(func $call (param i32 i32 i32 i32) (result i32)
  (memory.fill (i32.const 1024) (i32.const 0x5b) (i32.const 121))
  (memory.fill (i32.const 1145) (i32.const 0x5d) (i32.const 121))
  (call $send (i32.const 512) (i32.const 32) (i32.const 266) (i32.const 3) (i32.const 544) (i32.const 2)
    (i32.const 1) (i32.const 266) (i32.const 3) (i32.const 1024) (i32.const 242) (i32.const 416))
  (call $ok-null))
