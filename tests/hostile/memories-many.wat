;; tries: to have a second memory.
;; install: not_an_application limits.memories_max
(memory 1)
