;; Lengthens its table, an element at a time.
(table $table 1 funcref)
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (loop $again
    (drop (table.grow $table (ref.null func) (i32.const 1)))
    (br $again))
  unreachable)
