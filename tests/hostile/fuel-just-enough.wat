;; tries: to use up its fuel but for a few units: it takes 50569, and the engine stops a little
;;   before the end.
;; with: limits.update_fuel_max = 50_600
;; unmarked: its price is its own
;; update: answers null
(func $call (param i32 i32 i32 i32) (result i32)
  (memory.fill (i32.const 1024) (i32.const 0) (i32.const 50000)) (call $ok-null))
