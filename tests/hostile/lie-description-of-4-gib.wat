;; tries: to have so many methods that they alone would have 150 GiB.
;; install: not_an_application
;; says: out of bounds
(func $describe (result i32)
  (i32.store (i32.const 84) (i32.const -1))
  (i32.const 64))
