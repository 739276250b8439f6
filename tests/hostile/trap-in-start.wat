;; tries: to crash before anything is called.
;; install: not_an_application
;; says: unreachable
(func $crash unreachable)
(start $crash)
