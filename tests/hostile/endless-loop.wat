;; tries: to run for ever in a plain loop.
;; update: out_of_fuel limits.update_fuel_max
(func $call (param i32 i32 i32 i32) (result i32)
  (loop $again (br $again)) unreachable)
