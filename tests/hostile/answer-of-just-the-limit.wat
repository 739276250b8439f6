;; tries: to answer with just as much as it may.
;; memory: 18
;; update: answers "<<1048574 * x>>"
(func $call (param i32 i32 i32 i32) (result i32)
  (memory.fill (i32.const 65536) (i32.const 0x78) (i32.const 1048576))
  (i32.store8 (i32.const 65536) (i32.const 34)) (i32.store8 (i32.const 1114111) (i32.const 34))
  (call $ok (i32.const 65536) (i32.const 1048576)))
