;; tries: to append so many values that their addresses alone have 4 GiB.
;; update: invalid_output
;; says: out of bounds
(func $call (param i32 i32 i32 i32) (result i32)
  (call $list-append (i32.const 0) (i32.const 276) (i32.const 1) (i32.const 600) (i32.const 536870912)) (call $ok-null))
