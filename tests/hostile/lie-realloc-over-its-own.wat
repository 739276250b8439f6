;; tries: to give the host room in the middle of what its answer is made of.
;; update: answers "guest"
;; part: realloc
(func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 16))
;; part: guest
(func $call (param i32 i32 i32 i32) (result i32)
  (call $get (i32.const 256) (i32.const 5) (i32.const 512))
  (i32.store8 (i32.const 271) (i32.const 34))
  (i64.store (i32.const 600) (i64.const 0x22747365756722))
  (call $ok (i32.const 600) (i32.const 7)))
