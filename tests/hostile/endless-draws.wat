;; tries: to draw random bytes for ever.
;; update: out_of_fuel limits.update_fuel_max
;; part: realloc
(func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 8192))
;; part: guest
(func $call (param i32 i32 i32 i32) (result i32)
  (loop $again (call $random (i32.const 4096) (i32.const 512)) (br $again)) unreachable)
