;; tries: to ask for an older version of our storage.
;; form: component
;; install: not_an_application
;; says: there is no such import
(component (import "corelet:app/storage@0.1.0" (instance)))
