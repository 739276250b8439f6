;; tries: to append to a text without end.
;; update: limit_exceeded limits.edits_max
(func $call (param i32 i32 i32 i32) (result i32)
  (loop $again (call $text-append (i32.const 0) (i32.const 276) (i32.const 1) (i32.const 276) (i32.const 1)) (br $again)) unreachable)
