;; tries: to read one entry for ever.
;; update: out_of_fuel limits.update_fuel_max
(func $call (param i32 i32 i32 i32) (result i32)
  (loop $again (call $get (i32.const 276) (i32.const 1) (i32.const 512)) (br $again)) unreachable)
