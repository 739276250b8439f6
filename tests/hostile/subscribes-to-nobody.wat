;; tries: to subscribe to events of contexts whose ids are none, of no bytes and of many.
;; update: answers 0
;; memory: 20
(func $try (param $bytes i32)
  (call $subscribe (i32.const 65536) (local.get $bytes) (i32.const 266) (i32.const 3)
    (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0) (i32.const 416))
  (if (i32.eqz (i32.load8_u (i32.const 416))) (then unreachable))
  (if (call $unsubscribe (i32.const 65536) (local.get $bytes) (i32.const 266) (i32.const 3)) (then unreachable)))
(func $call (param i32 i32 i32 i32) (result i32)
  (call $try (i32.const 0)) (call $try (i32.const 31)) (call $try (i32.const 33))
  (call $try (i32.const 1000000))
  (call $ok-number (i64.load8_u (i32.const 417))))
