;; tries: to have a built-in for tasks that run beside each other.
;; form: component
;; install: not_an_application
;; says: asynchronous built-ins
(component (core func (canon backpressure.inc)))
