;; tries: to answer with a number that is too large for everybody.
;; update: answers 1e999999
(data (i32.const 600) "1e999999")
(func $call (param i32 i32 i32 i32) (result i32)
  (call $ok (i32.const 600) (i32.const 8)))
