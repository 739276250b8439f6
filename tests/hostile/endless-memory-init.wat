;; tries: to copy a data segment into its memory for ever.
;; update: out_of_fuel limits.update_fuel_max
(data $much "<<4096 * x>>")
(func $call (param i32 i32 i32 i32) (result i32)
  (loop $again (memory.init $much (i32.const 8192) (i32.const 0) (i32.const 4096)) (br $again)) unreachable)
