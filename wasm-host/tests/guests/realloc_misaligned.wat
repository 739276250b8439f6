;; Its allocator ignores alignment. Entries of a scan need it.
;; part: realloc
(func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 8193))
;; part: guest
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (call $scan (i32.const 276) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
    (i32.const 10) (i32.const 0) (i32.const 512))
  (call $ok-null))
