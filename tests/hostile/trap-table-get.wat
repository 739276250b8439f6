;; tries: to read behind the end of its table.
;; update: trapped
;; says: out of bounds table access
(table $table 10 funcref)
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (table.get $table (i32.const 10))) (call $ok-null))
