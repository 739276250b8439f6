;; tries: to end just before its end.
;; damage: cut 99%
;; install: not_an_application
;; says: invalid component
