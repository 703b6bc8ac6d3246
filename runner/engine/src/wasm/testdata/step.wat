;; A plugin of `flowrun:step` whose body the tests put in place of BODY. It has 64 KiB of memory, the host's `log` as
;; `$log` (level, text, length), and `$fail`/`$ok` that make a result. Version in place of VERSION. The lines of
;; capitals alone are places where more can be put in.
(component
  (import "flowrun:step/host@VERSION" (instance $host
    (type $l (enum "debug" "info" "warn" "error"))
    (export "level" (type $level (eq $l)))
    (export "log" (func (param "level" $level) (param "text" string)))))
  (import "flowrun:step/types@VERSION" (instance $types
    (type $p (record (field "name" string) (field "path" string)))
    (export "place" (type $place (eq $p)))
    (type $part-type (record (field "index" u32) (field "count" u32)))
    (export "part" (type $part (eq $part-type)))
    (type $r (record (field "config" string) (field "inputs" (list $place)) (field "outputs" (list $place)) (field "part" (option $part))))
    (export "request" (type $request (eq $r)))
    (type $c (record (field "path" string) (field "message" string)))
    (export "config-error" (type $config-error (eq $c)))
    (type $f (variant (case "bad-config" $config-error) (case "bad-input" string) (case "internal" string)))
    (export "failure" (type $failure (eq $f)))))
  (alias export $types "request" (type $request))
  (alias export $types "failure" (type $failure))
  ;; IMPORTS
  (core module $shared
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 32768))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.set $next (i32.add (local.get $at) (local.get 3)))
      (local.get $at)))
  (core instance $memory (instantiate $shared))
  (core func $log (canon lower (func $host "log") (memory (core memory $memory "memory"))))
  ;; LOWERED
  (core module $body
    (import "m" "memory" (memory 1))
    (import "m" "log" (func $log (param i32 i32 i32)))
    ;; WANTED
    ;; 256: the result. A string's pointer and length follow at 260 (ok) or after the failure's case at 264.
    (func $ok (param $text i32) (param $length i32) (result i32)
      (i32.store (i32.const 256) (i32.const 0))
      (i32.store (i32.const 260) (local.get $text))
      (i32.store (i32.const 264) (local.get $length))
      (i32.const 256))
    (func $fail (param $case i32) (param $text i32) (param $length i32) (result i32)
      (i32.store (i32.const 256) (i32.const 1))
      (i32.store (i32.const 260) (local.get $case))
      (i32.store (i32.const 264) (local.get $text))
      (i32.store (i32.const 268) (local.get $length))
      (i32.const 256))
    (func $deeper (param i32) (result i32) (i32.add (i32.const 1) (call $deeper (local.get 0))))
    (func $break (result i32) (unreachable))
    (data (i32.const 1024) "{\22ok\22:1}[1]crops.minis too large")
    (func (export "run") (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
      BODY))
  (core instance $imports (export "memory" (memory $memory "memory")) (export "log" (func $log))
    ;; GIVEN
    )
  (core instance $plugin (instantiate $body (with "m" (instance $imports))))
  (type $run (func (param "request" $request) (result (result string (error $failure)))))
  (func (export "run") (type $run)
    (canon lift (core func $plugin "run") (memory (core memory $memory "memory")) (realloc (core func $memory "realloc")))))
