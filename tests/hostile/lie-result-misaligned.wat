;; tries: to answer from an address that no answer can have.
;; update: invalid_output
;; says: align
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call $ok-null)) (i32.const 17))
