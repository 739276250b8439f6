;; tries: to crash when it has edited a list and a text that there were not.
;; update: trapped
;; update: trapped
;; says: unreachable
(func $list
  (i32.store (i32.const 600) (i32.const 256)) (i32.store (i32.const 604) (i32.const 5))
  (call $list-append (i32.const 0) (i32.const 276) (i32.const 1) (i32.const 600) (i32.const 1))
  (call $text-append (i32.const 0) (i32.const 256) (i32.const 3) (i32.const 272) (i32.const 4)))
(func $call (param i32 i32 i32 i32) (result i32)
  (call $list) unreachable)
