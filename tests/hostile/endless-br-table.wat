;; tries: to run for ever through a table of branches, none of which is a loop by itself.
;; update: out_of_fuel limits.update_fuel_max
(func $call (param i32 i32 i32 i32) (result i32) (local $n i32)
  (loop $one (loop $two (loop $three
    (local.set $n (i32.add (local.get $n) (i32.const 1)))
    (br_table $one $two $three (i32.rem_u (local.get $n) (i32.const 3))))))
  unreachable)
