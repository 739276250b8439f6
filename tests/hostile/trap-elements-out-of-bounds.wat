;; tries: to begin with elements behind the end of its table.
;; install: not_an_application
;; says: out of bounds
(table 1 funcref)
(elem (i32.const 1) func $nothing)
(func $nothing)
