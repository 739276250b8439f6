;; tries: to hand another context what is no JSON, which that one may rely on.
;; query: invalid_output
;; says: not JSON
(data (i32.const 544) "{]")
(func $call (param i32 i32 i32 i32) (result i32)
  (call $query (i32.const 512) (i32.const 32) (i32.const 266) (i32.const 3)
    (i32.const 544) (i32.const 2) (i32.const 416))
  (call $ok-null))
