;; tries: to run for ever in its start function, before anything is called.
;; install: not_an_application limits.start_fuel_max
(func $forever (loop $again (br $again)))
(start $forever)
