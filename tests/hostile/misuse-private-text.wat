;; tries: to have a text that stays on this node.
;; update: entry_misused
(func $call (param i32 i32 i32 i32) (result i32)
  (call $text-append (i32.const 2) (i32.const 276) (i32.const 1) (i32.const 272) (i32.const 4)) (call $ok-null))
