;; tries: to use up its stack while the host asks it for room.
;; init: stack_overflow limits.stack_bytes_max
;; part: realloc
(func $more (export "realloc") (param i32 i32 i32 i32) (result i32)
  (i32.add (i32.const 8) (call $more (local.get 0) (local.get 1) (local.get 2) (local.get 3))))
