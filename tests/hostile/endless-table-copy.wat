;; tries: to copy a table onto itself for ever.
;; update: out_of_fuel limits.update_fuel_max
(table $table 20000 funcref)
(func $call (param i32 i32 i32 i32) (result i32)
  (loop $again (table.copy $table $table (i32.const 1) (i32.const 0) (i32.const 19999)) (br $again)) unreachable)
