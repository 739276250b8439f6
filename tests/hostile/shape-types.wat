;; tries: to have more types than there may be.
;; form: component
;; install: not_an_application limits.types_max
(component (core module <<10001 * (type (func))>>))
