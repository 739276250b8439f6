;; tries: to wait for its own answer.
;; query: answers 6
(func $call (param i32 i32 i32 i32) (result i32)
  (call $id (i32.const 400))
  (call $query (i32.load (i32.const 400)) (i32.load (i32.const 404))
    (i32.const 266) (i32.const 3) (local.get 2) (local.get 3) (i32.const 416))
  (if (i32.eqz (i32.load8_u (i32.const 416))) (then unreachable))
  (call $ok-number (i64.load8_u (i32.const 420))))
