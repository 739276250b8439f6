;; tries: to edit a list at places that it does not have.
;; update: answers 1
(func $call (param i32 i32 i32 i32) (result i32)
  (call $list-insert (i32.const 0) (i32.const 276) (i32.const 1) (i64.const -1) (i32.const 600) (i32.const 0) (i32.const 512))
  (call $ok-number (i64.load8_u (i32.const 512))))
