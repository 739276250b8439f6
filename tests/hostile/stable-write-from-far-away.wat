;; tries: to write to its stable memory from where a count wraps around to its beginning.
;; update: entry_misused
;; says: beyond its end
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call $stable-grow (i64.const 1)))
  (call $stable-write (i64.const -2) (i32.const 272) (i32.const 4)) (call $ok-null))
