;; tries: to be damaged by one bit, at 45% of its length.
;; damage: flip 45%
;; install: not_an_application
