;; tries: to fill a table for ever.
;; update: out_of_fuel limits.update_fuel_max
(table $table 20000 funcref)
(elem declare func $call)
(func $call (param i32 i32 i32 i32) (result i32)
  (loop $again (table.fill $table (i32.const 0) (ref.func $call) (i32.const 20000)) (br $again)) unreachable)
