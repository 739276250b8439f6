;; tries: to read the server's environment.
;; form: component
;; install: not_an_application
;; says: import `wasi:cli/environment@0.2.0`
(component (import "wasi:cli/environment@0.2.0" (instance
  (export "get-environment" (func (result (list (tuple string string))))))))
