;; Asks for pollables and never gives one back.
;; IMPORTS
  (import "wasi:io/poll@0.2.0" (instance $poll (export "pollable" (type (sub resource)))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))
;; LOWERED
  (core func $subscribe (canon lower (func $clock "subscribe-duration")))
;; WANTED
    (import "m" "subscribe" (func $subscribe (param i64) (result i32)))
;; GIVEN
    (export "subscribe" (func $subscribe))
;; BODY
      (loop $again (drop (call $subscribe (i64.const 1))) (br $again))
      (unreachable)
