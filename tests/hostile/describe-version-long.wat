;; tries: to have a version that is longer than all it may say.
;; memory: 6
;; install: not_an_application limits.description_bytes_max
(func $describe (result i32)
  (i32.store (i32.const 72) (i32.const 65536)) (i32.store (i32.const 76) (i32.const 262144))
  (i32.const 64))
