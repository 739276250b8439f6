;; tries: to grow its table by 4 billion elements at once, which costs more than it has.
;; update: out_of_fuel limits.update_fuel_max
(table $table 1 funcref)
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (table.grow $table (ref.null func) (i32.const -2))) (call $ok-null))
