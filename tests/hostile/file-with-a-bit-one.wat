;; tries: to be damaged by one bit, at 15% of its length.
;; damage: flip 15%
;; install: not_an_application
