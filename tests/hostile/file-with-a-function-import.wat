;; tries: to import a function by itself.
;; form: component
;; install: not_an_application
;; says: there is no such import
(component (import "now" (func (result u64))))
