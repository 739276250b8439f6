;; tries: to give the host room behind its memory.
;; init: invalid_output
;; says: beyond end of memory
;; part: realloc
(func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65535))
