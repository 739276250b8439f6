;; tries: to end in the middle of its types.
;; damage: cut 17%
;; install: not_an_application
;; says: invalid component
