;; tries: to use a unit of fuel more than it has.
;; with: limits.update_fuel_max = 50_568
;; unmarked: its price is its own
;; update: out_of_fuel limits.update_fuel_max
(func $call (param i32 i32 i32 i32) (result i32)
  (memory.fill (i32.const 1024) (i32.const 0) (i32.const 50000)) (call $ok-null))
