;; tries: to be a core module.
;; form: component
;; install: not_an_application
;; says: not a component
(module (func (export "describe")))
