;; tries: to crash when its answer was taken.
;; init: trapped
;; says: unreachable
;; part: reset
unreachable
