;; tries: to have a method without a name.
;; install: not_an_application
;; says: a method has the name
(func $describe (result i32)
  (i32.store (i32.const 100) (i32.const 0))
  (i32.const 64))
