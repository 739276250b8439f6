;; tries: to have more data segments than there may be.
;; install: not_an_application limits.data_segments_max
<<10001 * (data "x")>>
