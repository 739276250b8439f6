;; tries: to read from a data segment that it has dropped.
;; update: trapped
;; says: out of bounds memory access
(data $some "some")
(func $call (param i32 i32 i32 i32) (result i32)
  (data.drop $some) (memory.init $some (i32.const 8192) (i32.const 0) (i32.const 1)) (call $ok-null))
