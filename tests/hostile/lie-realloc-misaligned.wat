;; tries: to give the host room where a list cannot lie.
;; update: invalid_output
;; says: align
;; part: realloc
(func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 8193))
;; part: guest
(func $call (param i32 i32 i32 i32) (result i32)
  (call $scan (i32.const 276) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 10) (i32.const 0) (i32.const 512)) (call $ok-null))
