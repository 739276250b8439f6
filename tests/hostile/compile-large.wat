;; tries: to become far more machine code than it was.
;; with: limits.compiled_bytes_max = "768 KiB"
;; install: not_an_application limits.compiled_bytes_max
<<3000 * (func (param i32) (result i32) <<10 * (drop (memory.grow (i32.load (local.get 0)))) >>(i32.const 0))>>
