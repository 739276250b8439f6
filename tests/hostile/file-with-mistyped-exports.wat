;; tries: to have exports of other types.
;; form: component
;; install: not_an_application
;; says: export `describe`
(component
  (core module $m (func (export "f")))
  (core instance $m (instantiate $m))
  (func (export "describe") (canon lift (core func $m "f")))
  (func (export "init") (canon lift (core func $m "f")))
  (func (export "call") (canon lift (core func $m "f"))))
