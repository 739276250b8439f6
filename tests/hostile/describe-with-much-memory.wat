;; tries: to take all the memory it may have to say what it is.
;; install: succeeds
(func $describe (result i32)
  (drop (memory.grow (i32.const 1023))) (memory.fill (i32.const 65536) (i32.const 1) (i32.const 60000000))
  (i32.const 64))
