;; tries: to have more methods than there may be.
;; memory: 3
;; install: not_an_application limits.methods_max
(func $describe (result i32)
  (local $n i32)
  (loop $next
    (memory.copy (i32.add (i32.const 65536) (i32.mul (local.get $n) (i32.const 36))) (i32.const 96) (i32.const 36))
    (local.set $n (i32.add (local.get $n) (i32.const 1)))
    (br_if $next (i32.lt_u (local.get $n) (i32.const 501))))
  (i32.store (i32.const 80) (i32.const 65536)) (i32.store (i32.const 84) (i32.const 501))
  (i32.const 64))
