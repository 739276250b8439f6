;; tries: to call a function as one of another type.
;; update: trapped
;; says: indirect call type mismatch
(type $other (func (param i64) (result i64)))
(table 1 funcref)
(elem (i32.const 0) func $call)
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call_indirect (type $other) (i64.const 1) (i32.const 0))) (call $ok-null))
