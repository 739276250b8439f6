;; tries: to crash when it has removed the one element of a list, each time anew.
;; init: succeeds
;; update: trapped
;; update: trapped
;; says: unreachable
(func $list
  (i32.store (i32.const 600) (i32.const 256)) (i32.store (i32.const 604) (i32.const 5))
  (call $list-append (i32.const 0) (i32.const 276) (i32.const 1) (i32.const 600) (i32.const 1))
  (call $text-append (i32.const 0) (i32.const 256) (i32.const 3) (i32.const 272) (i32.const 4)))
(func $init (param i32 i32) (result i32) (call $list) (call $ok-null))
(func $call (param i32 i32 i32 i32) (result i32)
  (call $list-remove (i32.const 0) (i32.const 276) (i32.const 1) (i64.const 0) (i64.const 1) (i32.const 512))
  (if (i32.load8_u (i32.const 512)) (then (return (call $ok-null))))
  unreachable)
