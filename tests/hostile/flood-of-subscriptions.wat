;; tries: to subscribe more handlers than a context may have, to its own events, and is told how many it has.
;; update: answers 64
(func $call (param i32 i32 i32 i32) (result i32)
  (local $n i32)
  (call $id (i32.const 400))
  (local.set $n (i32.const 33))
  (loop $again
    (i32.store8 (i32.const 600) (local.get $n))
    (call $subscribe (i32.load (i32.const 400)) (i32.load (i32.const 404)) (i32.const 600) (i32.const 1)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0) (i32.const 416))
    (local.set $n (i32.add (local.get $n) (i32.const 1)))
    (br_if $again (i32.eqz (i32.load8_u (i32.const 416)))))
  (call $ok-number (i64.extend_i32_u (i32.sub (local.get $n) (i32.const 34)))))
