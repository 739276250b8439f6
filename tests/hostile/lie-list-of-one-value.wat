;; tries: to append ten values of half a MiB that all lie in one place.
;; memory: 10
;; update: limit_exceeded limits.write_bytes_max
(func $call (param i32 i32 i32 i32) (result i32) (local $n i32)
  (loop $next
    (i64.store (i32.add (i32.const 600) (i32.shl (local.get $n) (i32.const 3))) (i64.const 0x0008000000010000))
    (local.set $n (i32.add (local.get $n) (i32.const 1)))
    (br_if $next (i32.lt_u (local.get $n) (i32.const 10))))
  (call $list-append (i32.const 0) (i32.const 276) (i32.const 1) (i32.const 600) (i32.const 10)) (call $ok-null))
