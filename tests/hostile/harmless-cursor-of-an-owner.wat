;; tries: to go on with a scan of the shared space from where its author's own space begins.
;; update: succeeds
(func $call (param i32 i32 i32 i32) (result i32)
  (call $author (i32.const 512))
  (call $scan (i32.const 276) (i32.const 0) (i32.const 1) (i32.load (i32.const 512)) (i32.const 32)
    (i32.const 10) (i32.const 0) (i32.const 520))
  (call $ok-number (i64.load32_u (i32.const 524))))
