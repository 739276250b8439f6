;; tries: to write while it looks at an update.
;; update: wrote_in_query
;; says: at the inspection of the update
(func (export "inspect") (param i32 i32 i32 i32) (result i32)
  (call $set (i32.const 256) (i32.const 5) (i32.const 272) (i32.const 4))
  (call $ok-null))
