;; tries: to grow its memory page by page without end.
;; update: out_of_memory limits.memory_bytes_max
(func $call (param i32 i32 i32 i32) (result i32)
  (loop $again (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable)) (br $again)) unreachable)
