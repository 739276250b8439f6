;; tries: to run for ever while it is asked what it is.
;; install: not_an_application limits.describe_fuel_max
(func $describe (result i32) (loop $again (br $again)) unreachable)
