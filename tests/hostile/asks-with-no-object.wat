;; tries: to hand another context a list where arguments have names.
;; query: invalid_output
;; says: not a JSON object
(data (i32.const 544) "[]")
(func $call (param i32 i32 i32 i32) (result i32)
  (call $query (i32.const 512) (i32.const 32) (i32.const 266) (i32.const 3)
    (i32.const 544) (i32.const 2) (i32.const 416))
  (call $ok-null))
