;; tries: to have a memory with addresses of 64 bits, which is checked in other ways.
;; form: component
;; install: not_an_application
;; says: unsupported
(component (core module (memory i64 1)))
