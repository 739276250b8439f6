;; An application whose methods each call one host function 900 times, one that
;; only counts to 900, one, `pass`, that does nothing, and one, `grow`, that gives it a page of
;; stable memory:
;;
;; none  counts              get1  reads one byte        put1  writes one byte
;; time  asks for the time   getk  reads 1 KiB           putk  writes 1 KiB
;; copy  is given 32 bytes   srd1  and srdk: the same    swr1  and swrk: the same
;; line  logs 32 bytes             of stable memory            to stable memory
;;
;; A core module in the shape that the component tooling expects of the world in
;; sdk/wit/; the harness makes it a component.
(module
  (import "corelet:app/context@0.2.1" "now" (func $now (result i64)))
  (import "corelet:app/context@0.2.1" "id" (func $id (param i32)))
  (import "corelet:app/storage@0.2.1" "get" (func $get (param i32 i32 i32 i32)))
  (import "corelet:app/storage@0.2.1" "set" (func $set (param i32 i32 i32 i32 i32)))
  (import "corelet:app/stable@0.2.1" "grow" (func $grow (param i64) (result i64)))
  (import "corelet:app/stable@0.2.1" "read" (func $stable-read (param i64 i32 i32)))
  (import "corelet:app/stable@0.2.1" "write" (func $stable-write (param i64 i32 i32)))
  (import "corelet:app/log@0.2.1" "write" (func $write (param i32 i32 i32)))
  (memory (export "memory") 2)
  ;; Where the host's next list goes: the second page.
  (global $free (mut i32) (i32.const 65536))

  (data (i32.const 512) "nonetimecopylineget1getkput1putkpasssrd1srdkswr1swrkgrow")
  (data (i32.const 56) "null")
  (data (i32.const 64) "border")
  (data (i32.const 72) "0.1.0")
  ;; The keys of the short and of the long value, which begins at 4096.
  (data (i32.const 80) "key1keyk")

  ;; The description at 192: name, version, methods at 1024, nothing for init.
  (data (i32.const 192)
    "\40\00\00\00" "\06\00\00\00"
    "\48\00\00\00" "\05\00\00\00"
    "\00\04\00\00" "\0e\00\00\00"
    "\00\00\00\00" "\00\00\00\00")
  ;; `ok` with "null" at 256.
  (data (i32.const 256) "\00\00\00\00" "\38\00\00\00" "\04\00\00\00")

  ;; One record of 36 bytes for each name: name, kind (1: update), parameters,
  ;; returns, doc.
  (func (export "describe") (result i32)
    (local $n i32) (local $at i32)
    (local.set $at (i32.const 1024))
    (loop $next
      (i32.store (local.get $at) (i32.add (i32.const 512) (i32.mul (local.get $n) (i32.const 4))))
      (i32.store offset=4 (local.get $at) (i32.const 4))
      (i32.store offset=8 (local.get $at) (i32.const 1))
      (i32.store offset=20 (local.get $at) (i32.const 56))
      (i32.store offset=24 (local.get $at) (i32.const 4))
      (local.set $at (i32.add (local.get $at) (i32.const 36)))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $n) (i32.const 14))))
    (i32.const 192))

  ;; `ok`, without a value, at 320, where memory is zero.
  (func (export "init") (param i32 i32) (result i32) (i32.const 320))

  (func (export "call")
    (param $method i32) (param $method-len i32) (param $args i32) (param $args-len i32) (result i32)
    (local $way i32) (local $n i32)
    ;; The place of the name among the names.
    (loop $look
      (if (i32.ne (i32.load (i32.add (i32.const 512) (i32.shl (local.get $way) (i32.const 2))))
                  (i32.load (local.get $method)))
        (then
          (local.set $way (i32.add (local.get $way) (i32.const 1)))
          (br $look))))
    (if (i32.eq (local.get $way) (i32.const 8)) (then
      (global.set $free (i32.const 65536))
      (return (i32.const 256))))
    (if (i32.eq (local.get $way) (i32.const 13)) (then
      (drop (call $grow (i64.const 1)))
      (return (i32.const 256))))
    (local.set $n (i32.const 900))
    (loop $again
      (global.set $free (i32.const 65536))
      (block $done
      (block $swrk (block $swr1 (block $srdk (block $srd1
      (block $putk (block $put1 (block $getk (block $get1 (block $line (block $copy (block $time
        (br_table $done $time $copy $line $get1 $getk $put1 $putk $done $srd1 $srdk $swr1 $swrk
          (local.get $way)))
        (drop (call $now)) (br $done))
        (call $id (i32.const 400)) (br $done))
        (call $write (i32.const 2) (i32.const 4096) (i32.const 32)) (br $done))
        (call $get (i32.const 0) (i32.const 80) (i32.const 4) (i32.const 400)) (br $done))
        (call $get (i32.const 0) (i32.const 84) (i32.const 4) (i32.const 400)) (br $done))
        (call $set (i32.const 0) (i32.const 80) (i32.const 4) (i32.const 4096) (i32.const 1)) (br $done))
        (call $set (i32.const 0) (i32.const 84) (i32.const 4) (i32.const 4096) (i32.const 1024)) (br $done))
        (call $stable-read (i64.const 0) (i32.const 1) (i32.const 400)) (br $done))
        (call $stable-read (i64.const 0) (i32.const 1024) (i32.const 400)) (br $done))
        (call $stable-write (i64.const 0) (i32.const 4096) (i32.const 1)) (br $done))
        (call $stable-write (i64.const 0) (i32.const 4096) (i32.const 1024)))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $again (local.get $n)))
    (i32.const 256))

  (func (export "cabi_realloc") (param $old i32) (param $old-len i32) (param $align i32) (param $len i32)
    (result i32)
    (local $at i32)
    (local.set $at (global.get $free))
    (global.set $free (i32.add (local.get $at) (i32.and (i32.add (local.get $len) (i32.const 7)) (i32.const -8))))
    (local.get $at)))
