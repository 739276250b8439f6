;; tries: to end in the middle of its types.
;; damage: cut 20%
;; install: not_an_application
;; says: invalid component
