;; tries: to fill a large table before anything runs, without a meter.
;; form: component
;; install: not_an_application
;; says: tables with an initial element
(component (core module (func $f) (table 20000 (ref func) (ref.func $f)) (elem declare func $f)))
