;; tries: to write to more blocks of its stable memory than it may write entries.
;; with: limits.writes_max = 1_000
;; update: limit_exceeded limits.writes_max
;; memory: 17
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call $stable-grow (i64.const 1024)))
  (memory.fill (i32.const 65536) (i32.const 0x78) (i32.const 1048576))
  (call $stable-write (i64.const 0) (i32.const 65536) (i32.const 1048576)) (call $ok-null))
