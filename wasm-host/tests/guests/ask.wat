;; Asks another context's query `run` with its own arguments. Answers with the
;; answer, or with the number of the error.
(data (i32.const 512) "\02\02\02\02\02\02\02\02\02\02\02\02\02\02\02\02\02\02\02\02\02\02\02\02\02\02\02\02\02\02\02\02")
(func $call (param i32 i32) (param $args i32) (param $len i32) (result i32)
  (call $query (i32.const 512) (i32.const 32) (i32.const 266) (i32.const 3)
    (local.get $args) (local.get $len) (i32.const 400))
  (if (i32.eqz (i32.load8_u (i32.const 400)))
    (then (return (call $ok (i32.load (i32.const 404)) (i32.load (i32.const 408))))))
  (call $ok-number (i64.load8_u (i32.const 404))))
