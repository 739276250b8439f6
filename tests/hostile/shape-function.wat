;; tries: to have a function that is larger than there may be.
;; install: not_an_application limits.function_bytes_max
(func <<56000 * (drop (v128.const i64x2 0 0))>>)
