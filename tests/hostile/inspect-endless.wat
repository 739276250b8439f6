;; tries: to look at an update for ever.
;; update: out_of_fuel limits.inspect_fuel_max
;; says: at the inspection of the update
(func (export "inspect") (param i32 i32 i32 i32) (result i32)
  (loop $again (br $again)) unreachable)
