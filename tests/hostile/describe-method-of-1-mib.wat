;; tries: to have a method with a name of 1 MiB.
;; memory: 18
;; install: not_an_application limits.description_bytes_max
(func $describe (result i32)
  (memory.fill (i32.const 65536) (i32.const 97) (i32.const 1048576)) (i32.store (i32.const 96) (i32.const 65536)) (i32.store (i32.const 100) (i32.const 1048576))
  (i32.const 64))
