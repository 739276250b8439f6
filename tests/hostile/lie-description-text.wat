;; tries: to have a name that is not UTF-8.
;; install: not_an_application
;; says: utf-8
(func $describe (result i32)
  (i32.store8 (i32.const 256) (i32.const 0xff))
  (i32.const 64))
