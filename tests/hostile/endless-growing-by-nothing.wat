;; tries: to grow its memory by no page for ever, which leaves compiled code each time.
;; update: out_of_fuel limits.update_fuel_max
(func $call (param i32 i32 i32 i32) (result i32)
  (loop $again (drop (memory.grow (i32.const 0))) (br $again)) unreachable)
