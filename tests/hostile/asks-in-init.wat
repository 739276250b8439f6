;; tries: to ask another context while its own is made.
;; init: asked_in_update
(data (i32.const 544) "{}")
(func $init (param i32 i32) (result i32)
  (call $query (i32.const 512) (i32.const 32) (i32.const 266) (i32.const 3)
    (i32.const 544) (i32.const 2) (i32.const 416))
  (call $ok-null))
