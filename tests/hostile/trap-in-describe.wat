;; tries: to crash when it is asked what it is.
;; install: not_an_application
;; says: unreachable
(func $describe (result i32) unreachable)
