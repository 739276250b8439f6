;; tries: to begin with a page more of memory than there may be.
;; memory: 1025
;; install: not_an_application limits.memory_bytes_max
