;; tries: to read a byte more of its stable memory than there is.
;; update: entry_misused
;; says: beyond its end: 2 bytes from 65535 on, of 65536 in all
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call $stable-grow (i64.const 1)))
  (call $stable-write (i64.const 0) (i32.const 272) (i32.const 4))
  (call $stable-read (i64.const 65535) (i32.const 2) (i32.const 512)) (call $ok-null))
