;; tries: to append a list whose second value lies behind its memory.
;; update: invalid_output
;; says: out of bounds
(func $call (param i32 i32 i32 i32) (result i32)
  (i32.store (i32.const 600) (i32.const 276)) (i32.store (i32.const 604) (i32.const 1))
  (i32.store (i32.const 608) (i32.const 65000)) (i32.store (i32.const 612) (i32.const 65000))
  (call $list-append (i32.const 0) (i32.const 276) (i32.const 1) (i32.const 600) (i32.const 2)) (call $ok-null))
