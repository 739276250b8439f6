;; tries: to copy a part of its table that ends behind it.
;; update: trapped
;; says: out of bounds table access
(table $table 10 funcref)
(func $call (param i32 i32 i32 i32) (result i32)
  (table.copy $table $table (i32.const 5) (i32.const 0) (i32.const 6)) (call $ok-null))
