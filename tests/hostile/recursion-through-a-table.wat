;; tries: to call itself for ever through a table.
;; update: stack_overflow limits.stack_bytes_max
(type $deep (func (result i32)))
(table 1 funcref)
(elem (i32.const 0) func $deep)
(func $deep (type $deep) (i32.add (i32.const 1) (call_indirect (type $deep) (i32.const 0))))
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call $deep)) (call $ok-null))
