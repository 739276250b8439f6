;; tries: to have a thousand methods whose documentation is one text of 50 KB.
;; memory: 2
;; install: not_an_application limits.transfer_bytes_max
(func $describe (result i32)
  (local $n i32)
  (loop $next
    (memory.copy (i32.add (i32.const 65536) (i32.mul (local.get $n) (i32.const 36))) (i32.const 96) (i32.const 36))
    (i32.store offset=28 (i32.add (i32.const 65536) (i32.mul (local.get $n) (i32.const 36))) (i32.const 8192))
    (i32.store offset=32 (i32.add (i32.const 65536) (i32.mul (local.get $n) (i32.const 36))) (i32.const 50000))
    (local.set $n (i32.add (local.get $n) (i32.const 1)))
    (br_if $next (i32.lt_u (local.get $n) (i32.const 1000))))
  (i32.store (i32.const 80) (i32.const 65536)) (i32.store (i32.const 84) (i32.const 1000))
  (i32.const 64))
