;; tries: to have a value put where none can lie.
;; update: invalid_output
;; says: align
(func $call (param i32 i32 i32 i32) (result i32)
  (call $get (i32.const 276) (i32.const 1) (i32.const 513)) (call $ok-null))
