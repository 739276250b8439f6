;; tries: to import a component from the server.
;; form: component
;; install: not_an_application
;; says: there is no such import
(component (import "kv" (component)))
