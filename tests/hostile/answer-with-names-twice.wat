;; tries: to answer with an object that has one name twice.
;; update: answers {"a":1,"a":2}
(data (i32.const 600) "{\22a\22:1,\22a\22:2}")
(func $call (param i32 i32 i32 i32) (result i32)
  (call $ok (i32.const 600) (i32.const 13)))
