;; tries: to end in the middle of its head.
;; damage: cut 0%
;; install: not_an_application
;; says: the file is empty
