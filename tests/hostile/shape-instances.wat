;; tries: to make more instances than there may be, of one module.
;; form: component
;; install: not_an_application limits.core_instances_max
(component (core module $m) <<9 * (core instance (instantiate $m))>>)
