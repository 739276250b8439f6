;; tries: to give the host the same room each time, and to read what comes of it.
;; update: answers null
;; part: realloc
(func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 8192))
;; part: guest
(func $call (param i32 i32 i32 i32) (result i32)
  (call $scan (i32.const 276) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 10) (i32.const 0) (i32.const 512)) (call $ok-null))
