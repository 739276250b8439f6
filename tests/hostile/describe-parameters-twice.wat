;; tries: to have a method with two parameters of one name.
;; install: not_an_application
;; says: there are two parameters
(func $describe (result i32)
  (i32.store (i32.const 108) (i32.const 600)) (i32.store (i32.const 112) (i32.const 2))
  (i64.store (i32.const 600) (i64.const 0x100000100)) (i64.store (i32.const 608) (i64.const 0x100000100))
  (i64.store (i32.const 616) (i64.const 0x100000100)) (i64.store (i32.const 624) (i64.const 0x100000100))
  (i32.const 64))
