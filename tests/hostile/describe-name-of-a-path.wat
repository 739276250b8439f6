;; tries: to have a name that leads to another directory.
;; install: not_an_application
;; says: the application has the name
(data (i32.const 256) "../..")
