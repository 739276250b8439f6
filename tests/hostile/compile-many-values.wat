;; tries: to keep 10,000 values on the stack of the compiler at once.
;; update: answers null
(func <<10000 * (i32.const 1) >> <<10000 * (drop) >>)
