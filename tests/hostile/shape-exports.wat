;; tries: to have more exports than there may be.
;; install: not_an_application limits.exports_max
<<1001 * (export "f{n}" (func $ok))>>
