;; tries: to have another context's id read from beyond its memory.
;; query: invalid_output
(data (i32.const 544) "{}")
(func $call (param i32 i32 i32 i32) (result i32)
  (call $query (i32.const 65530) (i32.const 32) (i32.const 266) (i32.const 3)
    (i32.const 544) (i32.const 2) (i32.const 416))
  (call $ok-null))
