;; The border of every test guest: the world's imports and exports around a
;; core module. `tests/border/guest.rs` puts a guest's own parts in place of
;; the names in double braces.
(component
  (import "corelet:app/context@0.2.0" (instance $context
    (export "id" (func (result (list u8))))
    (export "caller" (func (result string)))
    (export "author" (func (result (list u8))))
    (export "now" (func (result u64)))
    (export "random" (func (param "count" u32) (result (list u8))))
    (export "state-version" (func (result u64)))
    (export "fuel-used" (func (result u64)))))
  (import "corelet:app/storage@0.2.0" (instance $storage
    (type $entry-shape (record (field "key" (list u8)) (field "value" (list u8))))
    (export "entry" (type $entry (eq $entry-shape)))
    (type $space-shape (enum "shared" "owned" "private"))
    (export "space" (type $space (eq $space-shape)))
    (export "get" (func (param "space" $space) (param "key" (list u8))
      (result (option (list u8)))))
    (export "set" (func (param "space" $space) (param "key" (list u8)) (param "value" (list u8))))
    (export "add" (func (param "space" $space) (param "key" (list u8)) (param "amount" s64)
      (result s64)))
    (export "insert" (func (param "space" $space) (param "key" (list u8)) (result bool)))
    (export "write-once" (func (param "space" $space) (param "key" (list u8))
      (param "value" (list u8)) (result bool)))
    (export "remove" (func (param "space" $space) (param "key" (list u8)) (result bool)))
    (export "remove-range" (func (param "space" $space) (param "prefix" (list u8))
      (param "limit" u32) (result u32)))
    (export "scan" (func (param "space" $space) (param "prefix" (list u8))
      (param "after" (option (list u8))) (param "limit" u32) (param "reverse" bool)
      (result (list $entry))))
    (export "count" (func (param "space" $space) (param "prefix" (list u8)) (result u64)))))
  (import "corelet:app/events@0.2.0" (instance $events
    (export "emit" (func (param "kind" string) (param "payload" (list u8))))))
  (import "corelet:app/log@0.2.0" (instance $log
    (type $level-shape (enum "error" "warn" "info" "debug"))
    (export "level" (type $level (eq $level-shape)))
    (export "write" (func (param "level" $level) (param "message" string)))))

  ;; Memory and allocator come first: the lowered imports need them.
  (core module $heap
    (memory (export "memory") {{memory}})
    (global $free (mut i32) (i32.const 8192))
    {{realloc}}
    ;; Called by the host when it has read a result.
    (func (export "reset") (param i32) {{reset}}))
  (core instance $heap (instantiate $heap))
  (alias core export $heap "memory" (core memory $memory))
  (alias core export $heap "realloc" (core func $realloc))
  (alias core export $heap "reset" (core func $reset))

  (core func $id (canon lower (func $context "id") (memory $memory) (realloc $realloc)))
  (core func $caller (canon lower (func $context "caller") (memory $memory) (realloc $realloc)))
  (core func $author (canon lower (func $context "author") (memory $memory) (realloc $realloc)))
  (core func $now (canon lower (func $context "now")))
  (core func $random (canon lower (func $context "random") (memory $memory) (realloc $realloc)))
  (core func $state-version (canon lower (func $context "state-version")))
  (core func $fuel-used (canon lower (func $context "fuel-used")))
  (core func $get (canon lower (func $storage "get") (memory $memory) (realloc $realloc)))
  (core func $set (canon lower (func $storage "set") (memory $memory)))
  (core func $add (canon lower (func $storage "add") (memory $memory)))
  (core func $insert (canon lower (func $storage "insert") (memory $memory)))
  (core func $write-once (canon lower (func $storage "write-once") (memory $memory)))
  (core func $remove (canon lower (func $storage "remove") (memory $memory)))
  (core func $remove-range (canon lower (func $storage "remove-range") (memory $memory)))
  (core func $scan (canon lower (func $storage "scan") (memory $memory) (realloc $realloc)))
  (core func $count (canon lower (func $storage "count") (memory $memory)))
  (core func $emit (canon lower (func $events "emit") (memory $memory)))
  (core func $write (canon lower (func $log "write") (memory $memory)))

  (core module $guest
    (import "heap" "memory" (memory 1))
    (import "heap" "realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))
    (import "context" "id" (func $id (param i32)))
    (import "context" "caller" (func $caller (param i32)))
    (import "context" "author" (func $author (param i32)))
    (import "context" "now" (func $now (result i64)))
    (import "context" "random" (func $random (param i32 i32)))
    (import "context" "state-version" (func $state-version (result i64)))
    (import "context" "fuel-used" (func $fuel-used (result i64)))
    (import "storage" "get" (func $get-in (param i32 i32 i32 i32)))
    (import "storage" "set" (func $set-in (param i32 i32 i32 i32 i32)))
    (import "storage" "add" (func $add (param i32 i32 i32 i64) (result i64)))
    (import "storage" "insert" (func $insert (param i32 i32 i32) (result i32)))
    (import "storage" "write-once" (func $write-once (param i32 i32 i32 i32 i32) (result i32)))
    (import "storage" "remove" (func $remove-in (param i32 i32 i32) (result i32)))
    (import "storage" "remove-range" (func $remove-range (param i32 i32 i32 i32) (result i32)))
    (import "storage" "scan" (func $scan-in (param i32 i32 i32 i32 i32 i32 i32 i32 i32)))
    (import "storage" "count" (func $count-in (param i32 i32 i32) (result i64)))
    (import "events" "emit" (func $emit (param i32 i32 i32 i32)))
    (import "log" "write" (func $write (param i32 i32 i32)))

    ;; Low memory: 16 the result area, 64 the description, 256 text.
    (data (i32.const 256) "guest1.0.0runu64nullk\"text\"")
    ;; description {name, version, methods, init-parameters}
    (data (i32.const 64) "\00\01\00\00\05\00\00\00\05\01\00\00\05\00\00\00\60\00\00\00\01\00\00\00\00\00\00\00\00\00\00\00")
    ;; method {name, kind, parameters, returns, doc}
    (data (i32.const 96) "\0a\01\00\00\03\00\00\00\01\00\00\00\00\00\00\00\00\00\00\00\0d\01\00\00\03\00\00\00\00\00\00\00\00\00\00\00")

    ;; The functions of `storage` in the shared space, where most guests stay.
    (func $get (param $at i32) (param $len i32) (param $result i32)
      (call $get-in (i32.const 0) (local.get $at) (local.get $len) (local.get $result)))
    (func $set (param $at i32) (param $len i32) (param $value i32) (param $value-len i32)
      (call $set-in (i32.const 0)
        (local.get $at) (local.get $len) (local.get $value) (local.get $value-len)))
    (func $remove (param $at i32) (param $len i32) (result i32)
      (call $remove-in (i32.const 0) (local.get $at) (local.get $len)))
    (func $scan (param $at i32) (param $len i32) (param $some i32) (param $after i32)
        (param $after-len i32) (param $limit i32) (param $reverse i32) (param $result i32)
      (call $scan-in (i32.const 0) (local.get $at) (local.get $len) (local.get $some)
        (local.get $after) (local.get $after-len) (local.get $limit) (local.get $reverse)
        (local.get $result)))
    (func $count (param $at i32) (param $len i32) (result i64)
      (call $count-in (i32.const 0) (local.get $at) (local.get $len)))

    ;; ok(list) and err(list), for `init` as well.
    (func $ok (param $at i32) (param $len i32) (result i32)
      (i32.store (i32.const 16) (i32.const 0))
      (i32.store (i32.const 20) (local.get $at))
      (i32.store (i32.const 24) (local.get $len))
      (i32.const 16))
    (func $err (param $at i32) (param $len i32) (result i32)
      (i32.store (i32.const 16) (i32.const 1))
      (i32.store (i32.const 20) (local.get $at))
      (i32.store (i32.const 24) (local.get $len))
      (i32.const 16))
    (func $ok-null (result i32) (call $ok (i32.const 272) (i32.const 4)))
    ;; The number as the answer, in decimal.
    (func $ok-number (param $n i64) (result i32)
      (local $at i32)
      (local.set $at (i32.const 448))
      (loop $digits
        (local.set $at (i32.sub (local.get $at) (i32.const 1)))
        (i32.store8 (local.get $at)
          (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $n) (i64.const 10)))))
        (local.set $n (i64.div_u (local.get $n) (i64.const 10)))
        (br_if $digits (i64.ne (local.get $n) (i64.const 0))))
      (call $ok (local.get $at) (i32.sub (i32.const 448) (local.get $at))))

    {{describe}}
    {{init}}
    {{guest}}
    (export "describe" (func $describe))
    (export "init" (func $init))
    (export "call" (func $call)))

  (core instance $guest (instantiate $guest
    (with "heap" (instance $heap))
    (with "context" (instance
      (export "id" (func $id)) (export "caller" (func $caller)) (export "now" (func $now))
      (export "author" (func $author))
      (export "random" (func $random)) (export "state-version" (func $state-version))
      (export "fuel-used" (func $fuel-used))))
    (with "storage" (instance
      (export "get" (func $get)) (export "set" (func $set)) (export "add" (func $add))
      (export "insert" (func $insert)) (export "write-once" (func $write-once))
      (export "remove" (func $remove)) (export "remove-range" (func $remove-range))
      (export "scan" (func $scan)) (export "count" (func $count))))
    (with "events" (instance (export "emit" (func $emit))))
    (with "log" (instance (export "write" (func $write))))))

  (type $parameter-shape (record (field "name" string) (field "type-name" string)))
  (export $parameter "parameter" (type $parameter-shape))
  (type $kind-shape (enum "query" "update"))
  (export $kind "method-kind" (type $kind-shape))
  (type $method-shape (record (field "name" string) (field "kind" $kind)
    (field "parameters" (list $parameter)) (field "returns" string) (field "doc" string)))
  (export $method "method" (type $method-shape))
  (type $description-shape (record (field "name" string) (field "version" string)
    (field "methods" (list $method)) (field "init-parameters" (list $parameter))))
  (export $description "description" (type $description-shape))

  (func (export "describe") (result $description)
    (canon lift (core func $guest "describe") (memory $memory)))
  (func (export "init") (param "args" (list u8)) (result (result (error (list u8))))
    (canon lift (core func $guest "init") (memory $memory) (realloc $realloc)
      (post-return $reset)))
  (func (export "call") (param "method" string) (param "args" (list u8))
    (result (result (list u8) (error (list u8))))
    (canon lift (core func $guest "call") (memory $memory) (realloc $realloc)
      (post-return $reset))))
