;; tries: to import a core module from the server.
;; form: component
;; install: not_an_application
;; says: there is no such import
(component (import "libc" (core module)))
