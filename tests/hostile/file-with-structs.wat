;; tries: to use structures that somebody has to collect.
;; install: not_an_application
;; says: invalid component
(type (struct (field i32)))
