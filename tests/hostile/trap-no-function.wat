;; tries: to call an element behind the end of its table.
;; update: trapped
;; says: undefined element
(table 10 funcref)
(func $call (param i32 i32 i32 i32) (result i32)
  (call_indirect (i32.const -1)) (call $ok-null))
