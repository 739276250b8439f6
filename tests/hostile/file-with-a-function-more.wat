;; tries: to import a function of our storage that it does not have.
;; form: component
;; install: not_an_application
;; says: import `corelet:app/storage@0.2.0`
(component
  (import "corelet:app/storage@0.2.0" (instance (export "get-of-another" (func (param "context" string)))))
  (core module $m (func (export "f")))
  (core instance $m (instantiate $m))
  (func (export "describe") (canon lift (core func $m "f")))
  (func (export "init") (canon lift (core func $m "f")))
  (func (export "call") (canon lift (core func $m "f"))))
