;; tries: to have few locals in each of very many functions.
;; with: limits.module_bytes_max = "1 MiB"
;; with: limits.custom_bytes_max = "64 KiB"
;; with: limits.locals_max = 200_000
;; install: not_an_application limits.locals_max
<<201 * (func (local <<1000 * i32 >>))>>
