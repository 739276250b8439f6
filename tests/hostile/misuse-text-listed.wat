;; tries: to read a text as a list.
;; update: entry_misused
(func $call (param i32 i32 i32 i32) (result i32)
  (call $text-append (i32.const 0) (i32.const 276) (i32.const 1) (i32.const 272) (i32.const 4))
  (drop (call $list-length (i32.const 0) (i32.const 276) (i32.const 1))) (call $ok-null))
