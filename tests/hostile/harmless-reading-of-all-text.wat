;; tries: to read a text from behind its end, as much as there can be.
;; update: answers 0
(func $call (param i32 i32 i32 i32) (result i32)
  (call $text-append (i32.const 0) (i32.const 276) (i32.const 1) (i32.const 272) (i32.const 4))
  (call $text-read (i32.const 0) (i32.const 276) (i32.const 1) (i64.const -1) (i64.const -1) (i32.const 512))
  (call $ok-number (i64.load32_u (i32.const 516))))
