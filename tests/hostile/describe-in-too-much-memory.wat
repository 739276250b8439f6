;; tries: to take more memory than it may have to say what it is.
;; install: not_an_application limits.memory_bytes_max
(func $describe (result i32)
  (drop (memory.grow (i32.const 1024)))
  (i32.const 64))
