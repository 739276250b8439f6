;; tries: to run for ever in two functions that end by calling each other, without a loop or a
;;   stack.
;; update: out_of_fuel limits.update_fuel_max
(func $ping (result i32) (return_call $pong))
(func $pong (result i32) (return_call $ping))
(func $call (param i32 i32 i32 i32) (result i32)
  (call $ping))
