;; tries: to read more of a text at once than it may.
;; with: limits.scan_bytes_max = 2_000_000
;; memory: 18
;; update: limit_exceeded limits.scan_bytes_max
(func $call (param i32 i32 i32 i32) (result i32) (local $n i32)
  (memory.fill (i32.const 65536) (i32.const 0x78) (i32.const 1000000))
  (loop $next
    (call $text-append (i32.const 0) (i32.const 276) (i32.const 1) (i32.const 65536) (i32.const 1000000))
    (br_if $next (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 3))))
  (call $text-read (i32.const 0) (i32.const 276) (i32.const 1) (i64.const 0) (i64.const -1) (i32.const 512))
  (call $ok-null))
