;; tries: to take roots of vectors for ever.
;; update: out_of_fuel limits.update_fuel_max
(func $call (param i32 i32 i32 i32) (result i32) (local $v v128)
  (loop $again (local.set $v (f64x2.sqrt (f64x2.div (local.get $v) (f64x2.splat (f64.const 0x1p-1070))))) (br $again)) unreachable)
