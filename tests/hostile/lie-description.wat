;; tries: to describe itself with a name behind its memory.
;; install: not_an_application
;; says: out of bounds
(func $describe (result i32)
  (i32.store (i32.const 64) (i32.const -8))
  (i32.const 64))
