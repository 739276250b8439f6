;; tries: to read its stable memory from where a count wraps around to its beginning.
;; update: entry_misused
;; says: beyond its end
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call $stable-grow (i64.const 1)))
  (call $stable-read (i64.const -1) (i32.const 2) (i32.const 512)) (call $ok-null))
