;; tries: to begin with data behind the end of its memory.
;; install: not_an_application
;; says: out of bounds
(data (i32.const 65530) "0123456789")
