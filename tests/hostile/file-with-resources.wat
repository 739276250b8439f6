;; tries: to have resources, whose handles nobody counts.
;; form: component
;; install: not_an_application
;; says: resources of its own
(component (type (resource (rep i32))))
