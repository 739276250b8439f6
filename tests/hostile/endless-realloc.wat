;; tries: to run for ever when the host asks it for room for the arguments.
;; init: out_of_fuel limits.init_fuel_max
;; part: realloc
(func (export "realloc") (param i32 i32 i32 i32) (result i32) (loop $again (br $again)) unreachable)
