;; tries: to say more of itself than it may.
;; memory: 6
;; install: not_an_application limits.description_bytes_max
(func $describe (result i32)
  (i32.store (i32.const 124) (i32.const 65536)) (i32.store (i32.const 128) (i32.const 262144))
  (i32.const 64))
