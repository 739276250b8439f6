;; tries: to write one byte into block after block of its stable memory without end.
;; update: limit_exceeded limits.write_bytes_max
(func $call (param i32 i32 i32 i32) (result i32) (local $at i64)
  (drop (call $stable-grow (i64.const 1024)))
  (loop $again
    (call $stable-write (local.get $at) (i32.const 272) (i32.const 1))
    (local.set $at (i64.add (local.get $at) (i64.const 1024)))
    (br $again))
  unreachable)
