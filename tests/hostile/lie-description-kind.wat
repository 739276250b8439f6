;; tries: to have a method that is neither a query nor an update.
;; install: not_an_application
;; says: discriminant
(func $describe (result i32)
  (i32.store8 (i32.const 104) (i32.const 2))
  (i32.const 64))
