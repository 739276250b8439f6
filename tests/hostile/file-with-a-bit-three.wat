;; tries: to be damaged by one bit, at 60% of its length.
;; damage: flip 60%
;; install: not_an_application
