;; tries: to divide numbers for ever with which processors are slow.
;; update: out_of_fuel limits.update_fuel_max
(func $call (param i32 i32 i32 i32) (result i32) (local $x f64)
  (loop $again
    (local.set $x (f64.div (f64.const 0x1p-1070) (f64.add (local.get $x) (f64.const 0x1p-1071))))
    (local.set $x (f64.sqrt (local.get $x)))
    (br $again))
  unreachable)
