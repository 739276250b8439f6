;; tries: to have a memory that threads share.
;; form: component
;; install: not_an_application
;; says: unsupported
(component (core module (memory 1 1 shared)))
