;; Looks a name up, connects to PORT of this machine and reads. Its values are what came of it: 99 where it worked, 50 where the connection
;; was made and nothing could be read, else the number of the error, of which 01 is `access-denied`.
;; IMPORTS
  (import "wasi:sockets/network@0.2.0" (instance $network
    (export "network" (type (sub resource)))
    (type $codes (enum "unknown" "access-denied" "not-supported" "invalid-argument" "out-of-memory" "timeout"
      "concurrency-conflict" "not-in-progress" "would-block" "invalid-state" "new-socket-limit" "address-not-bindable"
      "address-in-use" "remote-unreachable" "connection-refused" "connection-reset" "connection-aborted"
      "datagram-too-large" "name-unresolvable" "temporary-resolver-failure" "permanent-resolver-failure"))
    (export "error-code" (type (eq $codes)))
    (type $families (enum "ipv4" "ipv6"))
    (export "ip-address-family" (type (eq $families)))
    (type $four (tuple u8 u8 u8 u8))
    (export "ipv4-address" (type $ipv4 (eq $four)))
    (type $eight (tuple u16 u16 u16 u16 u16 u16 u16 u16))
    (export "ipv6-address" (type $ipv6 (eq $eight)))
    (type $at4 (record (field "port" u16) (field "address" $ipv4)))
    (export "ipv4-socket-address" (type $socket4 (eq $at4)))
    (type $at6 (record (field "port" u16) (field "flow-info" u32) (field "address" $ipv6) (field "scope-id" u32)))
    (export "ipv6-socket-address" (type $socket6 (eq $at6)))
    (type $at (variant (case "ipv4" $socket4) (case "ipv6" $socket6)))
    (export "ip-socket-address" (type (eq $at)))))
  (alias export $network "network" (type $net))
  (alias export $network "error-code" (type $code))
  (alias export $network "ip-address-family" (type $family))
  (alias export $network "ip-socket-address" (type $address))
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $one (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $one))))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:io/error@0.2.0" (instance $errors (export "error" (type (sub resource)))))
  (alias export $errors "error" (type $error))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (export "input-stream" (type $from (sub resource)))
    (export "output-stream" (type (sub resource)))
    (type $ends (variant (case "last-operation-failed" (own $error)) (case "closed")))
    (export "stream-error" (type $end (eq $ends)))
    (export "[method]input-stream.blocking-read"
      (func (param "self" (borrow $from)) (param "len" u64) (result (result (list u8) (error $end)))))))
  (alias export $streams "input-stream" (type $in))
  (alias export $streams "output-stream" (type $out))
  (import "wasi:sockets/tcp@0.2.0" (instance $tcp
    (export "tcp-socket" (type $self (sub resource)))
    (export "[method]tcp-socket.start-connect" (func (param "self" (borrow $self)) (param "network" (borrow $net))
      (param "remote-address" $address) (result (result (error $code)))))
    (export "[method]tcp-socket.finish-connect"
      (func (param "self" (borrow $self)) (result (result (tuple (own $in) (own $out)) (error $code)))))
    (export "[method]tcp-socket.subscribe" (func (param "self" (borrow $self)) (result (own $pollable))))))
  (alias export $tcp "tcp-socket" (type $socket))
  (import "wasi:sockets/tcp-create-socket@0.2.0" (instance $create
    (export "create-tcp-socket" (func (param "address-family" $family) (result (result (own $socket) (error $code)))))))
  (import "wasi:sockets/instance-network@0.2.0" (instance $instance
    (export "instance-network" (func (result (own $net))))))
  (import "wasi:sockets/ip-name-lookup@0.2.0" (instance $lookup
    (export "resolve-address-stream" (type $addresses (sub resource)))
    (export "resolve-addresses" (func (param "network" (borrow $net)) (param "name" string)
      (result (result (own $addresses) (error $code)))))))
;; LOWERED
  (core func $net (canon lower (func $instance "instance-network")))
  (core func $resolve (canon lower (func $lookup "resolve-addresses") (memory (core memory $memory "memory"))))
  (core func $make (canon lower (func $create "create-tcp-socket") (memory (core memory $memory "memory"))))
  (core func $connect (canon lower (func $tcp "[method]tcp-socket.start-connect") (memory (core memory $memory "memory"))))
  (core func $finish (canon lower (func $tcp "[method]tcp-socket.finish-connect") (memory (core memory $memory "memory"))))
  (core func $subscribe (canon lower (func $tcp "[method]tcp-socket.subscribe")))
  (core func $block (canon lower (func $poll "[method]pollable.block")))
  (core func $read (canon lower (func $streams "[method]input-stream.blocking-read")
    (memory (core memory $memory "memory")) (realloc (core func $memory "realloc"))))
;; WANTED
    (import "m" "net" (func $net (result i32)))
    (import "m" "resolve" (func $resolve (param i32 i32 i32 i32)))
    (import "m" "make" (func $make (param i32 i32)))
    (import "m" "connect"
      (func $connect (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
    (import "m" "finish" (func $finish (param i32 i32)))
    (import "m" "subscribe" (func $subscribe (param i32) (result i32)))
    (import "m" "block" (func $block (param i32)))
    (import "m" "read" (func $read (param i32 i64 i32)))
    (data (i32.const 2048) "{\22tcp\22:\2200\22,\22dns\22:\2200\22}localhost")
    ;; Writes two digits.
    (func $tell (param $at i32) (param $number i32)
      (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.div_u (local.get $number) (i32.const 10))))
      (i32.store8 offset=1 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10)))))
    ;; What came of the connection. 512 is where results are put.
    (func $reach (param $net i32) (result i32)
      (local $socket i32)
      (call $make (i32.const 0) (i32.const 512))
      (if (i32.load8_u (i32.const 512)) (then (return (i32.load8_u (i32.const 516)))))
      (local.set $socket (i32.load (i32.const 516)))
      (call $connect (local.get $socket) (local.get $net) (i32.const 0) (i32.const PORT)
        (i32.const 127) (i32.const 0) (i32.const 0) (i32.const 1)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 512))
      (if (i32.load8_u (i32.const 512)) (then (return (i32.load8_u (i32.const 513)))))
      (call $block (call $subscribe (local.get $socket)))
      (call $finish (local.get $socket) (i32.const 512))
      (if (i32.load8_u (i32.const 512)) (then (return (i32.load8_u (i32.const 516)))))
      (call $log (i32.const 1) (i32.const 2071) (i32.const 9))
      (call $read (i32.load (i32.const 516)) (i64.const 100) (i32.const 512))
      (select (i32.const 50) (i32.const 99) (i32.load8_u (i32.const 512))))
;; GIVEN
    (export "net" (func $net)) (export "resolve" (func $resolve)) (export "make" (func $make))
    (export "connect" (func $connect)) (export "finish" (func $finish)) (export "subscribe" (func $subscribe))
    (export "block" (func $block)) (export "read" (func $read))
;; BODY
      (local $net i32)
      (local.set $net (call $net))
      (call $resolve (local.get $net) (i32.const 2071) (i32.const 9) (i32.const 512))
      (call $tell (i32.const 2067) (select (i32.load8_u (i32.const 516)) (i32.const 99) (i32.load8_u (i32.const 512))))
      (call $tell (i32.const 2056) (call $reach (local.get $net)))
      (call $ok (i32.const 2048) (i32.const 23))
