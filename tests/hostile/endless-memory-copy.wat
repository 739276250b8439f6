;; tries: to copy overlapping bytes for ever.
;; update: out_of_fuel limits.update_fuel_max
(func $call (param i32 i32 i32 i32) (result i32)
  (loop $again (memory.copy (i32.const 8193) (i32.const 8192) (i32.const 57000)) (br $again)) unreachable)
