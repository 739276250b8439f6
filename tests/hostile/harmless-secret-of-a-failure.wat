;; tries: to keep in its memory what a call of it has seen that was undone.
;; update: trapped
;; update: trapped
(global $seen (mut i32) (i32.const 0))
(func $call (param i32 i32 i32 i32) (result i32)
  (if (global.get $seen) (then (return (call $ok-null))))
  (global.set $seen (i32.const 1)) unreachable)
