;; tries: to have a method whose name is blank.
;; install: not_an_application
;; says: a method has the name
(func $describe (result i32)
  (i32.store (i32.const 266) (i32.const 0x20202020))
  (i32.const 64))
