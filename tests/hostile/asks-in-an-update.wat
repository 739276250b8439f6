;; tries: to ask another context in what may write, so that two that write could wait for each other.
;; update: asked_in_update
(func $ask
  (call $query (i32.const 512) (i32.const 32) (i32.const 266) (i32.const 3)
    (i32.const 544) (i32.const 2) (i32.const 416)))
(data (i32.const 544) "{}")
(func $call (param i32 i32 i32 i32) (result i32) (call $ask) (call $ok-null))
