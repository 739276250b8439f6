;; tries: to use instructions whose results depend on the processor.
;; install: not_an_application
;; says: invalid component
(func (drop (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0))))
