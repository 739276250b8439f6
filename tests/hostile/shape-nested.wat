;; tries: to have a component inside, between which and itself the engine copies without a
;;   meter.
;; form: component
;; install: not_an_application limits.nested_components_max
(component (component))
