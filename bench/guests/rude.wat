;; An application that bothers its neighbours, one way for each of its queries:
;;
;; spin  loops for ever
;; bomb  takes memory a MiB at a time, and writes to each page of the machine's in
;;       it, until there is no more
;; yell  logs lines of 1 KiB for ever
;;
;; A core module in the shape that the component tooling expects of the world in
;; sdk/wit/; the harness makes it a component. Every answer is constant data,
;; laid out as the canonical ABI wants it.
(module
  (import "corelet:app/log@0.2.0" "write" (func $write (param i32 i32 i32)))
  (memory (export "memory") 2)
  ;; Where the host's next argument goes.
  (global $free (mut i32) (i32.const 65536))

  (data (i32.const 16) "spinbombyell")
  (data (i32.const 32) "0.1.0")
  (data (i32.const 48) "null")
  (data (i32.const 64) "Goes on until it is stopped.")

  ;; The list of methods at 320, one record of 36 bytes: name, kind (0: query),
  ;; parameters, returns, doc.
  (data (i32.const 320)
    "\10\00\00\00" "\04\00\00\00" "\00\00\00\00" "\00\00\00\00" "\00\00\00\00"
    "\30\00\00\00" "\04\00\00\00" "\40\00\00\00" "\1c\00\00\00"
    "\14\00\00\00" "\04\00\00\00" "\00\00\00\00" "\00\00\00\00" "\00\00\00\00"
    "\30\00\00\00" "\04\00\00\00" "\40\00\00\00" "\1c\00\00\00"
    "\18\00\00\00" "\04\00\00\00" "\00\00\00\00" "\00\00\00\00" "\00\00\00\00"
    "\30\00\00\00" "\04\00\00\00" "\40\00\00\00" "\1c\00\00\00")

  ;; The description at 192: name, version, methods, parameters of init.
  (data (i32.const 192)
    "\10\00\00\00" "\04\00\00\00"
    "\20\00\00\00" "\05\00\00\00"
    "\40\01\00\00" "\03\00\00\00"
    "\00\00\00\00" "\00\00\00\00")

  (func (export "describe") (result i32) (i32.const 192))

  ;; `ok`, without a value, at 256, where memory is zero.
  (func (export "init") (param i32 i32) (result i32) (i32.const 256))

  (func (export "call")
    (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
    (local $way i32) (local $at i32) (local $end i32)
    (local.set $way (i32.load8_u (local.get $method)))
    (if (i32.eq (local.get $way) (i32.const 0x62)) (then
      (loop $more
        (local.set $at (i32.shl (memory.grow (i32.const 16)) (i32.const 16)))
        (local.set $end (i32.add (local.get $at) (i32.const 0x100000)))
        (loop $page
          (i32.store (local.get $at) (i32.const 1))
          (local.set $at (i32.add (local.get $at) (i32.const 4096)))
          (br_if $page (i32.lt_u (local.get $at) (local.get $end))))
        (br $more))))
    (if (i32.eq (local.get $way) (i32.const 0x79)) (then
      (loop $more
        (call $write (i32.const 2) (i32.const 4096) (i32.const 1024))
        (br $more))))
    (loop $for_ever (br $for_ever))
    unreachable)

  ;; Arguments go to the second page, one behind the other: no call outlives its instance.
  (func (export "cabi_realloc") (param $old i32) (param $old-len i32) (param $align i32) (param $len i32)
    (result i32)
    (local $at i32)
    (local.set $at (global.get $free))
    (global.set $free (i32.add (local.get $at) (i32.and (i32.add (local.get $len) (i32.const 7)) (i32.const -8))))
    (local.get $at)))
