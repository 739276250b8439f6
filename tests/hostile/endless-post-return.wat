;; tries: to run for ever when its answer was taken and it only has to clean up.
;; init: out_of_fuel limits.init_fuel_max
;; part: reset
(loop $again (br $again))
