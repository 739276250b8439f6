;; An application whose only method never returns: the neighbour of the latency
;; measure.
;;
;; A core module in the shape that the component tooling expects of the world in
;; sdk/wit/; the harness makes it a component. Every answer is constant data,
;; laid out as the canonical ABI wants it.
(module
  (memory (export "memory") 2)

  (data (i32.const 16) "spin")
  (data (i32.const 32) "0.1.0")
  (data (i32.const 48) "null")
  (data (i32.const 64) "Loops until its fuel is used up.")

  ;; The list of methods at 128, one record of 36 bytes: name, kind (0: query),
  ;; parameters, returns, doc.
  (data (i32.const 128)
    "\10\00\00\00" "\04\00\00\00"
    "\00\00\00\00"
    "\00\00\00\00" "\00\00\00\00"
    "\30\00\00\00" "\04\00\00\00"
    "\40\00\00\00" "\20\00\00\00")

  ;; The description at 192: name, version, methods, parameters of init.
  (data (i32.const 192)
    "\10\00\00\00" "\04\00\00\00"
    "\20\00\00\00" "\05\00\00\00"
    "\80\00\00\00" "\01\00\00\00"
    "\00\00\00\00" "\00\00\00\00")

  (func (export "describe") (result i32) (i32.const 192))

  ;; `ok`, without a value, at 256, where memory is zero.
  (func (export "init") (param i32 i32) (result i32) (i32.const 256))

  (func (export "call") (param i32 i32 i32 i32) (result i32)
    (loop $for_ever (br $for_ever))
    unreachable)

  ;; Arguments go to the second page, always to the same place: no call outlives
  ;; the next.
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536)))
