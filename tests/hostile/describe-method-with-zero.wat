;; tries: to have a method with a zero byte in its name.
;; install: not_an_application
;; says: a method has the name
(func $describe (result i32)
  (i32.store8 (i32.const 267) (i32.const 0))
  (i32.const 64))
