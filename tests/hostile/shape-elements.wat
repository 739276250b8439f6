;; tries: to have more element segments than there may be.
;; install: not_an_application limits.element_segments_max
<<10001 * (elem func)>>
