;; tries: to have more locals in a function than there may be, in a few bytes.
;; install: not_an_application limits.function_locals_max
(func (local <<10001 * i64 >>))
