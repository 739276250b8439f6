;; tries: to bring a section of names that is none.
;; update: answers null
(@custom "name" "\ff\ff\ff\ff\ff\ff")
