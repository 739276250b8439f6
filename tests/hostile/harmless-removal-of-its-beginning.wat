;; tries: to remove what it has written itself, and to leave nothing but an event.
;; update: answers 1
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call $remove-in (i32.const 2) (i32.const 256) (i32.const 5)))
  (call $ok-number (i64.extend_i32_u (call $remove (i32.const 256) (i32.const 5)))))
