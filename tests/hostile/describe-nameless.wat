;; tries: to have no name.
;; install: not_an_application
;; says: the application has the name
(func $describe (result i32)
  (i32.store (i32.const 68) (i32.const 0))
  (i32.const 64))
