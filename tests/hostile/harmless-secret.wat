;; tries: to keep a secret in its memory and to tell it to another context.
;; update: answers 0
;; update elsewhere: answers 0
(global $secret (mut i64) (i64.const 0))
(func $call (param i32 i32 i32 i32) (result i32) (local $was i64)
  (local.set $was (global.get $secret))
  (global.set $secret (i64.const 42))
  (call $ok-number (local.get $was)))
