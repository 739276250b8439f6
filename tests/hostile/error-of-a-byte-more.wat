;; tries: to refuse its call with a byte more than an error may have.
;; memory: 18
;; update: limit_exceeded limits.output_bytes_max
(func $call (param i32 i32 i32 i32) (result i32)
  (memory.fill (i32.const 65536) (i32.const 0x78) (i32.const 1048577))
  (i32.store8 (i32.const 65536) (i32.const 34)) (i32.store8 (i32.const 1114112) (i32.const 34))
  (call $err (i32.const 65536) (i32.const 1048577)))
