;; tries: to take the compiler long with little: 30,000 indirect calls in a function.
;; with: limits.compile_cpu_max = "1 s"
;; with: limits.compile_cpu_per_mib = "0 ms"
;; install: not_an_application limits.compile_cpu_max
(type $plain (func))
(table 1 funcref)
(func <<30000 * (call_indirect (type $plain) (i32.const 0))>>)
