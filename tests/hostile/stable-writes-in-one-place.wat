;; tries: to write to one place of its stable memory until its fuel is gone.
;; update: out_of_fuel limits.update_fuel_max
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call $stable-grow (i64.const 1)))
  (loop $again (call $stable-write (i64.const 7) (i32.const 272) (i32.const 4)) (br $again))
  unreachable)
