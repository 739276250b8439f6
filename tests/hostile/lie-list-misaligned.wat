;; tries: to append a list that lies where none can.
;; update: invalid_output
;; says: align
(func $call (param i32 i32 i32 i32) (result i32)
  (call $list-append (i32.const 0) (i32.const 276) (i32.const 1) (i32.const 601) (i32.const 1)) (call $ok-null))
