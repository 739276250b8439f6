;; tries: to have a function with more parameters than there can be.
;; install: not_an_application
;; says: invalid component
(func (param <<1001 * i32 >>))
