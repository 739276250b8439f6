;; tries: to have a counter that stays on this node.
;; update: entry_misused
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call $add (i32.const 2) (i32.const 276) (i32.const 1) (i64.const 1))) (call $ok-null))
