;; tries: to refuse an update with all that came with it.
;; args: {"a":[1,2,3]}
;; update: inspection_refused
(func (export "inspect") (param i32 i32 i32 i32) (result i32)
  (call $err (local.get 2) (local.get 3)))
