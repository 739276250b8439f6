;; tries: to bring more beside its code than there may be.
;; with: limits.module_bytes_max = "1 MiB"
;; with: limits.custom_bytes_max = "64 KiB"
;; with: limits.locals_max = 200_000
;; install: not_an_application limits.custom_bytes_max
(@custom "padding" "<<65536 * x>>")
