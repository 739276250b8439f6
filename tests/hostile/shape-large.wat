;; tries: to be a larger file than there may be.
;; with: limits.module_bytes_max = "1 MiB"
;; with: limits.custom_bytes_max = "64 KiB"
;; with: limits.locals_max = 200_000
;; install: not_an_application limits.module_bytes_max
(data $much "<<1048577 * x>>")
