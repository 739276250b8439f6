;; tries: to begin with an element more in its table than there may be.
;; install: not_an_application limits.table_elements_max
(table 50001 funcref)
