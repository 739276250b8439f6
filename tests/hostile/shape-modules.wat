;; tries: to have more modules than there may be.
;; form: component
;; install: not_an_application limits.core_modules_max
(component <<9 * (core module)>>)
