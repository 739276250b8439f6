;; tries: to write behind the end of its table.
;; update: trapped
;; says: out of bounds table access
(table $table 10 funcref)
(elem declare func $call)
(func $call (param i32 i32 i32 i32) (result i32)
  (table.set $table (i32.const -1) (ref.func $call)) (call $ok-null))
