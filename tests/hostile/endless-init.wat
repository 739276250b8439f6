;; tries: to run for ever while its context is created.
;; init: out_of_fuel limits.init_fuel_max
(func $init (param i32 i32) (result i32) (loop $again (br $again)) unreachable)
