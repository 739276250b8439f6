;; tries: to fill a page for ever, many bytes with each instruction.
;; update: out_of_fuel limits.update_fuel_max
(func $call (param i32 i32 i32 i32) (result i32)
  (loop $again (memory.fill (i32.const 8192) (i32.const 7) (i32.const 57344)) (br $again)) unreachable)
