;; tries: to tell an event of twenty thousand lists inside each other.
;; update: answers null
(func $call (param i32 i32 i32 i32) (result i32)
  (memory.fill (i32.const 8192) (i32.const 0x5b) (i32.const 20000))
  (memory.fill (i32.const 28192) (i32.const 0x5d) (i32.const 20000))
  (call $emit (i32.const 276) (i32.const 1) (i32.const 8192) (i32.const 40000)) (call $ok-null))
