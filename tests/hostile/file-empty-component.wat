;; tries: to be a component and nothing else.
;; form: component
;; install: not_an_application
;; says: export `describe`
(component)
