;; tries: to answer with an escape that is half of a character.
;; update: answers "\ud800"
(data (i32.const 600) "\22\5cud800\22")
(func $call (param i32 i32 i32 i32) (result i32)
  (call $ok (i32.const 600) (i32.const 8)))
