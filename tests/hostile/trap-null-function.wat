;; tries: to call an element of a table in which there is nothing.
;; update: trapped
;; says: uninitialized element
(table 10 funcref)
(func $call (param i32 i32 i32 i32) (result i32)
  (call_indirect (i32.const 3)) (call $ok-null))
