;; tries: to be text.
;; form: text
;; install: not_an_application
;; says: this is not WebAssembly
