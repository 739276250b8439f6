;; tries: to fill its table from a segment that it has dropped.
;; update: trapped
;; says: out of bounds table access
(table $table 10 funcref)
(elem $some func $call)
(func $call (param i32 i32 i32 i32) (result i32)
  (elem.drop $some) (table.init $table $some (i32.const 0) (i32.const 0) (i32.const 1)) (call $ok-null))
