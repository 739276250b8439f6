;; tries: to remove everything from the owned space, whoever owns it.
;; update: entry_misused
(func $call (param i32 i32 i32 i32) (result i32)
  (drop (call $remove-range (i32.const 1) (i32.const 276) (i32.const 0) (i32.const 1000))) (call $ok-null))
