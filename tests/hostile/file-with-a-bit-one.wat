;; tries: to be damaged by one bit, at 20% of its length.
;; damage: flip 20%
;; install: not_an_application
