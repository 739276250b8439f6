;; tries: to have a memory whose pages are bytes.
;; form: component
;; install: not_an_application
;; says: unsupported
(component (core module (memory 1 (pagesize 1))))
