;; tries: to have a name that goes on in the next line of a log.
;; install: not_an_application
;; says: the application has the name
(func $describe (result i32)
  (i32.store8 (i32.const 258) (i32.const 10))
  (i32.const 64))
