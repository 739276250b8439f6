;; tries: to run for ever by tail calls through a table.
;; update: out_of_fuel limits.update_fuel_max
(type $round (func (result i32)))
(table $rounds 1 funcref)
(elem (i32.const 0) func $round)
(func $round (type $round) (return_call_indirect (type $round) (i32.const 0)))
(func $call (param i32 i32 i32 i32) (result i32)
  (call $round))
