;; tries: to import something with a name of 90 KB, to be found in every log.
;; form: component
;; install: not_an_application
;; says: there is no such import
(component (import "a:b/<<90000 * c>>" (instance)))
