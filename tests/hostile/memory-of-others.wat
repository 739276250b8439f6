;; tries: to find what whoever had its memory before has left there: it answers if there is
;;   anything, and else leaves something itself and crashes.
;; update: trapped
;; update: trapped
;; update elsewhere: trapped
;; says: unreachable
(func $call (param i32 i32 i32 i32) (result i32) (local $at i32) (local $found i64)
  (drop (memory.grow (i32.const 255)))
  (local.set $at (i32.const 16384))
  (loop $next
    (local.set $found (i64.or (local.get $found) (i64.load (local.get $at))))
    (local.set $at (i32.add (local.get $at) (i32.const 8)))
    (br_if $next (i32.lt_u (local.get $at) (i32.const 16777216))))
  (if (i64.ne (local.get $found) (i64.const 0)) (then (return (call $ok-number (local.get $found)))))
  (memory.fill (i32.const 16384) (i32.const 255) (i32.const 16760832))
  unreachable)
