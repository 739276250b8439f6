;; tries: to have more functions than there may be.
;; install: not_an_application limits.functions_max
<<200001 * (func)>>
