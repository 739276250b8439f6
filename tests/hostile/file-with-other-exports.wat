;; tries: to have exports that are no functions.
;; form: component
;; install: not_an_application
;; says: export `describe`
(component
  (core module $m)
  (core instance (instantiate $m))
  (instance $i)
  (export "describe" (instance $i)) (export "init" (instance $i)) (export "call" (instance $i)))
