;; tries: to answer with a value behind lines and tabs.
;; update: succeeds
(data (i32.const 600) "\0a\09 \0d\0anull")
(func $call (param i32 i32 i32 i32) (result i32)
  (call $ok (i32.const 600) (i32.const 9)))
