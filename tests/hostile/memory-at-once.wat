;; tries: to grow its memory by all 4 GiB at once.
;; update: out_of_memory limits.memory_bytes_max
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (memory.grow (i32.const 65535))) (call $ok-null))
