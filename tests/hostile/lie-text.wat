;; tries: to append half of a surrogate pair to a text.
;; update: invalid_output
;; says: utf-8
(func $call (param i32 i32 i32 i32) (result i32)
  (i32.store (i32.const 600) (i32.const 0x80a0ed)) (call $text-append (i32.const 0) (i32.const 276) (i32.const 1) (i32.const 600) (i32.const 3)) (call $ok-null))
