;; tries: to have a table more than there may be.
;; install: not_an_application limits.tables_max
<<5 * (table 1 funcref)>>
