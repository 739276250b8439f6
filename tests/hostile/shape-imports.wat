;; tries: to have more imports than there may be.
;; form: component
;; install: not_an_application limits.imports_max
(component (core module <<1001 * (import "a" "f{n}" (func))>>))
