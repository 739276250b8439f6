;; tries: to tell the world of an update at which it only looks.
;; update: wrote_in_query
(func (export "inspect") (param i32 i32 i32 i32) (result i32)
  (call $emit (i32.const 256) (i32.const 5) (i32.const 272) (i32.const 4))
  (call $ok-null))
