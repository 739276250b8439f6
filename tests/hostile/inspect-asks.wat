;; tries: to have others wait for it while it looks at an update, by asking itself again and again.
;; update: out_of_fuel limits.inspect_fuel_max
(func (export "inspect") (param i32 i32 i32 i32) (result i32)
  (loop $again
    (call $id (i32.const 400))
    (call $query (i32.load (i32.const 400)) (i32.load (i32.const 404))
      (i32.const 266) (i32.const 3) (local.get 2) (local.get 3) (i32.const 416))
    (br $again))
  unreachable)
