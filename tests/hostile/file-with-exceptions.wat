;; tries: to throw exceptions.
;; form: component
;; install: not_an_application
;; says: exceptions
(component (core module (tag)))
