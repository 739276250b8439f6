;; tries: to have a longer text open than may be.
;; with: limits.scan_bytes_max = 2_000_000
;; with: limits.sequences_bytes_max = 500_000
;; memory: 18
;; update: limit_exceeded limits.sequences_bytes_max
(func $call (param i32 i32 i32 i32) (result i32)
  (memory.fill (i32.const 65536) (i32.const 0x78) (i32.const 1000000))
  (call $text-append (i32.const 0) (i32.const 276) (i32.const 1) (i32.const 65536) (i32.const 1000000))
  (call $text-append (i32.const 0) (i32.const 276) (i32.const 1) (i32.const 65536) (i32.const 1000000))
  (call $ok-null))
