;; tries: to trap while it looks at an update.
;; update: trapped
;; says: at the inspection of the update
(func (export "inspect") (param i32 i32 i32 i32) (result i32) unreachable)
