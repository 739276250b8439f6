;; tries: to have a function that owes its result.
;; install: not_an_application
;; says: type mismatch
(func (result i32))
