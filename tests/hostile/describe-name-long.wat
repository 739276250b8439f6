;; tries: to have a name of 50 KB.
;; install: not_an_application
;; says: the application has the name
(func $describe (result i32)
  (memory.fill (i32.const 8192) (i32.const 97) (i32.const 50000)) (i32.store (i32.const 64) (i32.const 8192)) (i32.store (i32.const 68) (i32.const 50000))
  (i32.const 64))
