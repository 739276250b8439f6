;; tries: to have more globals than there may be.
;; install: not_an_application limits.globals_max
<<1001 * (global i32 (i32.const 0))>>
