;; tries: to use instructions for threads.
;; install: not_an_application
;; says: invalid component
(func (drop (i32.atomic.load (i32.const 0))))
