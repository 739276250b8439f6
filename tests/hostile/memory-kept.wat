;; tries: to take all the memory it may have, to touch every page of it, and to stay.
;; update: answers null
(func $call (param i32 i32 i32 i32) (result i32) (local $at i32)
  (drop (memory.grow (i32.const 1023)))
  (loop $next
    (i32.store (local.get $at) (i32.or (i32.load (local.get $at)) (i32.const 0)))
    (local.set $at (i32.add (local.get $at) (i32.const 4096)))
    (br_if $next (i32.lt_u (local.get $at) (i32.const 67108864))))
  (call $ok-null))
