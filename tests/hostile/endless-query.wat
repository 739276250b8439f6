;; tries: to run for ever in a query, which others do not wait for.
;; query: out_of_fuel limits.query_fuel_max
(func $call (param i32 i32 i32 i32) (result i32)
  (loop $again (br $again)) unreachable)
