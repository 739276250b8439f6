;; tries: to crash when the host asks it for room.
;; init: trapped
;; says: unreachable
;; part: realloc
(func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
