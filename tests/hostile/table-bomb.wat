;; tries: to grow its table without end.
;; update: limit_exceeded limits.table_elements_max
(table $table 1 funcref)
(func $call (param i32 i32 i32 i32) (result i32)
  (loop $again (drop (table.grow $table (ref.null func) (i32.const 1000))) (br $again)) unreachable)
