;; Fills a table over and over.
(table $t 10000 funcref)
(func $call (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
  (loop $again
    (table.fill $t (i32.const 0) (ref.null func) (i32.const 10000))
    (br $again))
  unreachable)
